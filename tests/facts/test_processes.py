"""What /proc says of processes, and what is no such text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.facts.processes import Process, Processes, parse_argv

ARGUMENT = st.binary(max_size=12).filter(lambda raw: b"\0" not in raw)


@given(st.lists(ARGUMENT, min_size=1, max_size=6))
def test_arguments_come_back_as_the_bytes_they_were(arguments: list[bytes]) -> None:
    raw = b"".join(a + b"\0" for a in arguments)
    argv = parse_argv(raw)
    assert [a.encode("utf-8", "surrogateescape") for a in argv] == arguments


def test_a_kernel_thread_has_no_arguments() -> None:
    assert parse_argv(b"") == ()


def test_a_title_that_overwrites_the_arguments_is_one_argument() -> None:
    """k3s and sshd write into their arguments; what is left behind are NULs."""
    assert parse_argv(b"/usr/local/bin/k3s server\0\0\0") == ("/usr/local/bin/k3s server", "", "")
    assert parse_argv(b"sshd: root@pts/0") == ("sshd: root@pts/0",)


def process(exe: str | None, argv: tuple[str, ...] | None, comm: str = "comm") -> Process:
    return Process(1, 0, comm, exe, argv, None, None)


@pytest.mark.parametrize(
    ("exe", "argv", "program"),
    [
        ("/usr/bin/kubelet", ("/tmp/sshd",), "kubelet"),
        (None, ("/usr/bin/kubelet", "--v=2"), "kubelet"),
        (None, ("", "x"), "comm"),
        (None, (), "comm"),
        (None, None, "comm"),
    ],
)
def test_a_program_is_the_file_that_runs(
    exe: str | None, argv: tuple[str, ...] | None, program: str
) -> None:
    assert process(exe, argv).program == program


def test_running_names_the_executable() -> None:
    rows = (process("/usr/bin/kubelet", None), process("/usr/bin/sshd", ("kubelet",)))
    assert list(Processes(rows).running("kubelet")) == [rows[0]]
