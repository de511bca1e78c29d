"""Kubeconfigs: who speaks to which API server, by what credential."""

from __future__ import annotations

from nodeward.facts.pki import BY_LOCATION, Guard, Pem
from nodeward.facts.tokens import Token
from nodeward.lazy import dataclass
from nodeward.model import Fact

ADMINISTRATORS = ("system:masters", "kubeadm:cluster-admins")


@dataclass(frozen=True, slots=True)
class Cluster:
    """`authority` is a file; `anchors` is an embedded bundle. Neither: the client
    trusts what its system trusts."""

    name: str
    server: str
    insecure: bool = False
    authority: str = ""
    anchors: Pem | None = None
    proxy: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """`certificate` is embedded, with its key if that is too; `key` is an embedded key without
    its certificate. `certificate_file` and `key_file` are as the client finds them (relative ones
    from the kubeconfig's folder). `file_guard` says who may reach `token_file`, `file_error` why
    it could not be read. `command` is that of an exec plugin."""

    name: str
    certificate: Pem | None = None
    key: Pem | None = None
    certificate_file: str = ""
    key_file: str = ""
    has_key: bool = False
    token: Token | None = None
    token_file: str = ""
    file_guard: Guard | None = None
    file_token: Token | None = None
    file_error: str = ""
    basic: bool = False
    command: str = ""
    provider: str = ""

    @property
    def credential(self) -> bool:
        """Whether the file itself lets its reader in."""
        return bool((self.certificate and self.has_key) or self.token or self.basic)


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """One file. `component` is whose it is ("" when nothing tells); `named_by` how we know.

    `error` says why it could not be read; `absent`: because it is not there.
    """

    path: str
    component: str = ""
    named_by: str = BY_LOCATION
    in_use: bool = True
    clusters: tuple[Cluster, ...] = ()
    users: tuple[User, ...] = ()
    contexts: tuple[tuple[str, str, str], ...] = ()  # name, cluster, user
    current: str = ""
    guard: Guard | None = None
    real: str = ""
    error: str = ""
    absent: bool = False

    @property
    def user(self) -> User | None:
        """The one that the current context names; the only one where there is no such context."""
        name = next((user for title, _, user in self.contexts if title == self.current), None)
        named = [u for u in self.users if u.name == name]
        return named[0] if named else self.users[0] if len(self.users) == 1 else None


@dataclass(frozen=True, slots=True)
class Kubeconfigs(Fact):
    """All that were found. `unseen` are directories that could not be searched, with the reason.
    `owners`: whether the owners of files mean anything, see Pki."""

    rows: tuple[Kubeconfig, ...]
    unseen: tuple[str, ...] = ()
    owners: bool = True

    def of(self, *components: str) -> tuple[Kubeconfig, ...]:
        return tuple(k for k in self.rows if k.component in components)


@dataclass(frozen=True, slots=True)
class ComponentKubeconfigs(Kubeconfigs):
    """Those of the node's own components alone, without copies that lie about: finding these takes
    a walk through every home."""
