"""What lies about: files that hold a certificate of an administrators' group, or a private key."""

from __future__ import annotations

from nodeward.lazy import dataclass
from nodeward.model import Fact


@dataclass(frozen=True, slots=True)
class Stray:
    """One file; see nodeward.host.admin_search.AdministratorFile."""

    path: str
    group: str
    kubeconfig: bool = False
    key: bool = False
    token: bool = False


@dataclass(frozen=True, slots=True)
class Strays(Fact):
    """What a search below `folders` found: `files` of `entries` were looked into. `stopped` says
    which bound ended it ("": none), `unseen` what could not be searched, `elsewhere` which other
    file systems were left alone, `outside` which folders of "/" were not looked into."""

    rows: tuple[Stray, ...]
    folders: tuple[str, ...] = ()
    entries: int = 0
    files: int = 0
    stopped: str = ""
    unseen: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def extent(self) -> str:
        """How far it went, in words."""
        return f"{self.files} such files among {self.entries} below {len(self.folders)}"

    @property
    def dark(self) -> list[str]:
        """What keeps its silence from being a pass."""
        ended = [f"all of it: the search stopped at {self.stopped}"] if self.stopped else []
        return [*ended, *self.unseen]
