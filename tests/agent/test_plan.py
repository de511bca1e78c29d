"""What is watched follows from what was read."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nodeward.agent.plan import ANY, SELF, Plan, plan


def tree(root: Path) -> str:
    """A kubelet's certificates as they lie on a node: a link to the current one."""
    (root / "var/lib/kubelet/pki").mkdir(parents=True)
    (root / "var/lib/kubelet/pki/kubelet-client-1.pem").touch()
    (root / "var/lib/kubelet/pki/current.pem").symlink_to("kubelet-client-1.pem")
    (root / "etc/kubernetes").mkdir(parents=True)
    (root / "etc/kubernetes/link").symlink_to("/var/lib/kubelet/pki/current.pem")
    return str(root)


def on_the_way(*folders: str) -> dict[str, dict[str, list[str]]]:
    return {folder: {SELF: ["F"]} for folder in folders}


def test_the_folder_of_a_file_is_watched_for_its_name(tmp_path: Path) -> None:
    made = plan({"F": ["/var/lib/kubelet/pki/kubelet-client-1.pem"]}, {}, tree(tmp_path))
    assert made.folders == {
        **on_the_way("/var", "/var/lib", "/var/lib/kubelet"),
        "/var/lib/kubelet/pki": {SELF: ["F"], "kubelet-client-1.pem": ["F"]},
    }


def test_every_link_on_the_way_is_watched(tmp_path: Path) -> None:
    made = plan({"F": ["/etc/kubernetes/link"]}, {}, tree(tmp_path))
    assert made.folders == {
        **on_the_way("/etc", "/var", "/var/lib", "/var/lib/kubelet"),
        "/etc/kubernetes": {SELF: ["F"], "link": ["F"]},
        "/var/lib/kubelet/pki": {SELF: ["F"], "current.pem": ["F"], "kubelet-client-1.pem": ["F"]},
    }


def test_for_what_is_missing_the_nearest_folder_is_watched(tmp_path: Path) -> None:
    made = plan({"F": ["/etc/kubernetes/manifests/x/y.yaml"]}, {}, tree(tmp_path))
    assert made.folders == {
        **on_the_way("/etc"),
        "/etc/kubernetes": {SELF: ["F"], "manifests": ["F"]},
    }


def test_a_listed_folder_is_watched_for_any_name(tmp_path: Path) -> None:
    made = plan({"F": ["/etc/kubernetes/"]}, {}, tree(tmp_path))
    assert made.folders == {
        "/etc": {SELF: ["F"], "kubernetes": ["F"]},
        "/etc/kubernetes": {ANY: ["F"]},
    }


def test_the_files_of_a_process_with_a_root_of_its_own_are_watched_through_it(
    tmp_path: Path,
) -> None:
    inside = tmp_path / "proc/7/root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc/link").symlink_to("/etc/file")
    (inside / "etc/file").touch()
    read = ["/proc/7/root/etc/link", "/proc/7/root/proc/self/x", "/proc/7/root"]
    made = plan({"F": read}, {}, str(tmp_path))
    assert made.folders == {"/proc/7/root/etc": {SELF: ["F"], "link": ["F"], "file": ["F"]}}
    assert made.polled == {}


def test_only_proc_sys_and_dev_themselves_are_polled(tmp_path: Path) -> None:
    (tmp_path / "system").mkdir()
    made = plan({"F": ["/system/file"]}, {}, str(tmp_path))
    assert (made.folders, made.polled) == ({"/system": {SELF: ["F"], "file": ["F"]}}, {})


def test_proc_and_sys_are_polled_but_not_single_processes(tmp_path: Path) -> None:
    read = ["/proc/sys/kernel/kptr_restrict", "/proc/7/cmdline", "/proc/", "/sys/module/"]
    read += ["/proc/modules", "/proc/net/tcp"]  # numbers that always move
    made = plan({"F": read}, {"F": ("process",)}, tree(tmp_path))
    assert made.polled == {"/proc/sys/kernel/kptr_restrict": ["F"], "/sys/module/": ["F"]}
    assert made.events == {"process": ["F"]}


def test_a_new_look_replaces_what_its_facts_had(tmp_path: Path) -> None:
    root = tree(tmp_path)
    before = plan({"F": ["/etc/a"], "G": ["/etc/a"]}, {"F": ("module",)}, root)
    after = before.merge(plan({"F": ["/etc/b", "/proc/x"]}, {}, root), ["F"])
    assert after == Plan(
        {"/etc": {SELF: ["G", "F"], "a": ["G"], "b": ["F"]}}, {"/proc/x": ["F"]}, {}
    )


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert plan({"F": ["/a"]}, {}, str(tmp_path)).folders["/"].keys() == {"a", "b"}


NAME = st.sampled_from(["a", "b", "..", ".", "link", "etc", "", "kubernetes", "proc"])


@given(st.lists(st.lists(NAME, min_size=1).map(lambda parts: "/" + "/".join(parts)), max_size=5))
def test_any_path_makes_a_plan_that_survives_its_json(paths: list[str]) -> None:
    made = plan({"F": paths}, {}, "/")
    assert Plan.from_json(made.to_json()) == made
