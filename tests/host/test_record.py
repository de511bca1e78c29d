"""A recording holds each answer once, errors included, and a replay gives them back."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.host import (
    DeniedError,
    HostError,
    MissingError,
    NotRegularError,
    OfflineError,
    Recorder,
    Replay,
    Stat,
    TooBigError,
    TreeHost,
)
from nodeward.host.processes import ProcessTable
from nodeward.host.record import NoRecordingError, dump, load
from nodeward.host.sockets import ListeningSockets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/file").write_bytes(b"\xff\x00 bytes")
    (tmp_path / "link").symlink_to("etc/file")
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/stat").write_text("7 (sh) S 1 " + "0 " * 40)
    return tmp_path


def ask_everything(host: Recorder | Replay) -> list[object]:
    """Every kind of question; an error counts by its class and text."""
    questions: list[Callable[[], object]] = [
        lambda: host.read("/etc/file"),
        lambda: host.read("/etc/file", limit=3),
        lambda: host.read("/etc"),
        lambda: host.read("/none"),
        lambda: host.stat("/link"),
        lambda: host.lstat("/link"),
        lambda: host.link("/link"),
        lambda: host.real("/link"),
        lambda: host.names("/"),
        lambda: host.xattr("/etc/file", "user.none"),
        lambda: host.ask(ProcessTable()),
        lambda: host.ask(ListeningSockets()),
    ]
    said: list[object] = []
    for question in questions:
        try:
            said.append(question())
        except HostError as exc:
            said.append((type(exc), exc.path, exc.why))
    return said


def through_a_file(recorder: Recorder) -> Replay:
    host, node, taken_at = load(dump(recorder, node="n", taken_at="2026-11-22T04:00:00Z"))
    assert (node, taken_at) == ("n", "2026-11-22T04:00:00Z")
    return host


def test_a_replay_answers_as_the_host_did(root: Path) -> None:
    recorder = Recorder(TreeHost(root))
    said = ask_everything(recorder)
    replay = through_a_file(recorder)
    assert ask_everything(replay) == said
    assert (replay.root, replay.live) == (str(root), False)
    assert {type(s) for s in said if not isinstance(s, tuple)} == {bytes, str, Stat}
    kinds = {s[0] for s in said if isinstance(s, tuple) and isinstance(s[0], type)}
    assert kinds == {TooBigError, NotRegularError, MissingError, OfflineError}


def test_a_question_that_was_never_asked_is_an_error_and_not_missing(root: Path) -> None:
    replay = through_a_file(Recorder(TreeHost(root)))
    with pytest.raises(HostError, match="not in this recording") as caught:
        replay.read("/etc/file")
    assert not isinstance(caught.value, MissingError)


def test_a_question_put_twice_is_answered_once(root: Path) -> None:
    """The host goes on changing; a recording in which it did could not be replayed."""
    recorder = Recorder(TreeHost(root))
    first = recorder.read("/etc/file")
    (root / "etc/file").write_text("changed")
    assert recorder.read("/etc/file") == first
    with pytest.raises(MissingError):
        recorder.read("/later")
    (root / "later").touch()
    with pytest.raises(MissingError):
        recorder.read("/later")


def test_a_reader_with_a_higher_limit_gets_what_another_found_too_big(root: Path) -> None:
    recorder = Recorder(TreeHost(root))
    with pytest.raises(TooBigError):
        recorder.read("/etc/file", limit=2)
    assert recorder.read("/etc/file") == b"\xff\x00 bytes"
    with pytest.raises(TooBigError):
        through_a_file(recorder).read("/etc/file", limit=2)
    assert through_a_file(recorder).read("/etc/file") == b"\xff\x00 bytes"


@pytest.mark.root
def test_modes_and_owners_are_kept(root: Path) -> None:
    os.chown(root / "etc/file", 12, 34)
    os.chmod(root / "etc/file", 0o4751)
    recorder = Recorder(TreeHost(root))
    recorder.stat("/etc/file")
    seen = through_a_file(recorder).stat("/etc/file")
    assert (seen.uid, seen.gid, seen.mode & 0o7777) == (12, 34, 0o4751)


def test_what_a_reader_may_not_see_stays_denied() -> None:
    class Locked(TreeHost):
        def read(self, path: str, *, limit: int = 1) -> bytes:
            raise DeniedError(path, "EACCES")

    recorder = Recorder(Locked("/"))
    with pytest.raises(DeniedError):
        recorder.read("/etc/shadow")
    with pytest.raises(DeniedError, match="EACCES"):
        through_a_file(recorder).read("/etc/shadow")


def test_the_machine_id_does_not_leave_its_machine(root: Path) -> None:
    machine_id = "0123456789abcdef" * 2
    (root / "etc/machine-id").write_text(machine_id + "\n")
    (root / "proc/cmdline").write_text(f"quiet systemd.machine_id={machine_id}\n")
    recorder = Recorder(TreeHost(root))
    recorder.read("/etc/machine-id")
    recorder.read("/proc/cmdline")
    text = dump(recorder, node="n", taken_at="")
    assert machine_id not in text
    other = load(text)[0].read("/etc/machine-id")
    assert other.strip().decode() in load(text)[0].read("/proc/cmdline").decode()


def test_a_recording_is_plain_ascii(root: Path) -> None:
    recorder = Recorder(TreeHost(root))
    recorder.read("/etc/file")
    assert dump(recorder, node="n", taken_at="").isascii()


GOOD = {
    "schema": "nodeward.recording/v1", "node": "n", "taken_at": "2026-11-22T04:00:00Z",
    "live": False, "root": "/", "log": {},
}  # fmt: skip
BAD: dict[str, object] = {
    "empty": "",
    "no json": "{",
    "a list": "[]",
    "a number": "1",
    "deeply nested": "[" * 100_000,
    "another schema": json.dumps({**GOOD, "schema": "nodeward.recording/v9"}),
    "no log": json.dumps({k: v for k, v in GOOD.items() if k != "log"}),
    "a log that is a list": json.dumps({**GOOD, "log": []}),
    "live as text": json.dumps({**GOOD, "live": "yes"}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_recording_is_refused(name: str) -> None:
    with pytest.raises(NoRecordingError):
        load(str(BAD[name]))


ANSWER = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["!", "mode", "uid", "why", "path"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(ANSWER)
def test_a_hostile_recording_gives_host_errors_and_nothing_else(answer: object) -> None:
    keys = ["read /x", "stat /x", "names /x", "link /x", f"ask {ProcessTable().key()}"]
    host = load(json.dumps({**GOOD, "log": dict.fromkeys(keys, answer)}))[0]
    for question in (
        lambda: host.read("/x"),
        lambda: host.stat("/x"),
        lambda: host.names("/x"),
        lambda: host.link("/x"),
        lambda: host.ask(ProcessTable()),
    ):
        try:
            question()
        except HostError:
            continue
