"""Look at known places of credentials: mode and owner only."""

from __future__ import annotations

from collections.abc import Iterator

from nodeward.facts.pki_places import HOMES
from nodeward.facts.secret_files import (
    FILES,
    HOME_FILES,
    OF_SUPERVISORS,
    SSH_NAMES,
    SecretFile,
    SecretFiles,
)
from nodeward.facts.supervisors import NOWHERE, Homes
from nodeward.host import Host, HostError, MissingError
from nodeward.model import Absent, Unreadable
from nodeward.probes.pki_files import Files
from nodeward.probes.registry import probe

SSH_FOLDER = "/etc/ssh"


@probe
def read_secret_files(host: Host, homes: Homes | Absent | Unreadable) -> SecretFiles:
    files = Files(host)
    places = _places(files, homes if isinstance(homes, Homes) else NOWHERE)
    found = [one for path, what in places if (one := _look(files, path, what))]
    owned = files.owned(one.guard for one in found)
    return SecretFiles(tuple(found), owned, tuple(files.unseen))


def _places(files: Files, homes: Homes) -> Iterator[tuple[str, str]]:
    yield from FILES
    for program, name, what in OF_SUPERVISORS:
        for data in homes.folders(program):
            yield f"{data}/{name}", what
    for home in ("/root", *(f"{HOMES}/{name}" for name in files.names(HOMES))):
        for name, what in HOME_FILES:
            yield f"{home}/{name}", what
        for name in SSH_NAMES:
            yield f"{home}/.ssh/{name}", "SSH key"
    for name in files.names(SSH_FOLDER):
        if name.startswith("ssh_host_") and name.endswith("_key"):
            yield f"{SSH_FOLDER}/{name}", "SSH host key"


def _look(files: Files, path: str, what: str) -> SecretFile | None:
    try:
        guard = files.guard(path, files.real(path))
    except MissingError:
        return None
    except HostError as exc:
        return SecretFile(path, what, None, exc.why)
    return SecretFile(path, what, guard) if guard.mode & 0o170000 == 0o100000 else None
