"""Find and read kubeconfigs: those of daemons, those at usual places, and copies of them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from nodeward.facts.daemons import APISERVER, PROXY, Daemon, Daemons
from nodeward.facts.errors import ParseError
from nodeward.facts.kubeconfig import Cluster, ComponentKubeconfigs, Kubeconfig, Kubeconfigs, User
from nodeward.facts.kubeyaml import parse_document
from nodeward.facts.node import Node
from nodeward.facts.pki import BY_LOCATION, Guard
from nodeward.facts.pki_places import (
    COPIES,
    HOMES,
    KUBECONFIG_FLAGS,
    cni_folders,
    usual_kubeconfigs,
    would_run,
)
from nodeward.facts.strays import Strays
from nodeward.facts.supervisors import NOWHERE, Homes
from nodeward.facts.tokens import Token
from nodeward.host import Host, HostError, MissingError
from nodeward.host.cni import CniKubeconfigs
from nodeward.host.kubeconfig import DAMAGED, FOREIGN, ClusterRow, KubeconfigFile, UserRow
from nodeward.host.pem import PemContents
from nodeward.host.token import TokenFile, TokenRow
from nodeward.lazy import pattern
from nodeward.model import Absent, Unreadable
from nodeward.probes.pki_files import Files, of_contents
from nodeward.probes.registry import probe

MOST_COPIES = 500
BESIDE = "/etc/kubernetes"
LARGEST_COPY, LARGEST_COPIES = 256 << 10, 4 << 20  # bytes of one, and of all: YAML costs 1 s a MiB
_WEBHOOK_FLAGS = ("authorization-config", "admission-control-config-file")


@probe
def read_component_kubeconfigs(
    host: Host,
    node: Node,
    daemons: Daemons | Absent | Unreadable,
    homes: Homes | Absent | Unreadable,
) -> ComponentKubeconfigs:
    files = Files(host)
    rows = daemons if isinstance(daemons, Daemons) else None
    search = _Search(files, rows, homes if isinstance(homes, Homes) else NOWHERE)
    search.of_daemons()
    search.of_places()
    search.of_folders()
    found = [_read(files, one) for one in search.found.values()]
    kept = tuple(k for k in found if not _is_another(k))
    return ComponentKubeconfigs(kept, tuple(files.unseen), files.owned(k.guard for k in found))


@probe
def read_kubeconfigs(
    host: Host, own: ComponentKubeconfigs, strays: Strays | Absent | Unreadable
) -> Kubeconfigs:
    """Those of the components, and copies that lie about."""
    files = Files(host)
    search = _Search(files, None, NOWHERE, {one.path: one for one in own.rows})
    search.of_copies()
    for one in strays.rows if isinstance(strays, Strays) else ():
        if one.kubeconfig and (one.group or one.token):
            search.add(one.path, "copy", in_use=False)
    known = {one.path for one in own.rows}
    copies = [_read(files, one) for path, one in search.found.items() if path not in known]
    return Kubeconfigs(
        (*own.rows, *(k for k in copies if not _is_another(k))),
        (*own.unseen, *files.unseen),
        own.owners or files.owned(k.guard for k in copies),
    )


def _is_another(one: Kubeconfig) -> bool:
    """A file of another kind that has a kubeconfig's name. Where a component keeps its own, what
    cannot be told to be one or not may well be one."""
    errors = (FOREIGN, DAMAGED) if one.component == "copy" else (FOREIGN,)
    return one.error in errors and one.named_by == BY_LOCATION


@dataclass(slots=True)
class _Search:
    """Collects paths, the surest reason first."""

    files: Files
    daemons: Daemons | None
    homes: Homes
    found: dict[str, Kubeconfig] = field(default_factory=dict)

    def add(self, path: str, component: str, named_by: str = BY_LOCATION, *, in_use: bool) -> None:
        self.found.setdefault(path, Kubeconfig(path, component, named_by, in_use))

    def of_daemons(self) -> None:
        for daemon in self.daemons.rows if self.daemons else ():
            for flag, component in KUBECONFIG_FLAGS.get(daemon.program, {}).items():
                if path := daemon.flag(flag):
                    self.add(daemon.outside(path), component, daemon.where(flag), in_use=True)
            if daemon.program == PROXY and (path := daemon.flag("config")):
                self.of_configuration(daemon, path, "kubeconfig", "kube-proxy")
            for flag in _WEBHOOK_FLAGS if daemon.program == APISERVER else ():
                if path := daemon.flag(flag):
                    self.of_configuration(daemon, path, "kubeConfigFile", "webhook")

    def of_configuration(self, daemon: Daemon, path: str, key: str, component: str) -> None:
        """A configuration file of a daemon that names kubeconfigs: KubeProxyConfiguration in
        clientConnection, AuthorizationConfiguration in a webhook's connectionInfo,
        AdmissionConfiguration in a plugin's configuration or in a further file (`path`)."""
        place = daemon.outside(path)
        try:
            value = parse_document(self.files.host.read(place), place).value
        except (HostError, ParseError):
            named_by = f"{daemon.program} ({daemon.origin})"
            self.add(place, component, named_by, in_use=True)  # reading it again tells why
            return
        for named in values_of(value, key):
            self.add(daemon.outside(named), component, f"{place} {key}", in_use=True)
        for further in values_of(value, "path") if key == "kubeConfigFile" else ():
            if further != path and further.endswith((".yaml", ".yml", ".json")):
                self.of_plugin(daemon, further)

    def of_plugin(self, daemon: Daemon, path: str) -> None:
        """The file of one admission plugin."""
        place = daemon.outside(path)
        try:
            value = parse_document(self.files.host.read(place), place).value
        except (HostError, ParseError):
            self.add(place, "webhook", f"{daemon.program} ({daemon.origin})", in_use=True)
            return
        for named in values_of(value, "kubeConfigFile"):
            self.add(daemon.outside(named), "webhook", f"{place} kubeConfigFile", in_use=True)

    def of_places(self) -> None:
        named = {k.component for k in self.found.values()}
        for path, component in usual_kubeconfigs(self.homes).items():
            if path not in self.found and self.files.there(path):
                used = component not in named and would_run(component, self.daemons, self.homes)
                self.add(path, component, in_use=used)

    def of_folders(self) -> None:
        folders = tuple(cni_folders(self.homes))
        for folder in folders:
            for name in self.files.names(folder):
                if "kubeconfig" in name:
                    self.add(f"{folder}/{name}", "cni", in_use=True)
        try:
            found = self.files.host.ask(CniKubeconfigs(folders))
        except HostError:
            return  # a recording from before this was asked
        self.files.unseen += found.unseen
        for one in found.rows:
            self.add(one.path, "cni", one.named_by, in_use=True)

    def of_copies(self) -> None:
        """Anyone may write below /tmp: what a look costs is bounded, and what is left out told."""
        count = total = 0
        for path in self.copies():
            size = self.files.size(path)
            if path in self.found or size is None:
                continue
            if size > LARGEST_COPY:
                if "config" in posixpath.basename(path):
                    self.files.unseen.append(f"{path}: more than {LARGEST_COPY} bytes")
                continue
            count, total = count + 1, total + size
            if count > MOST_COPIES or total > LARGEST_COPIES:
                self.files.unseen.append(f"{path} and more: too many files that may be kubeconfigs")
                return
            self.add(path, "copy", in_use=False)

    def copies(self) -> Iterator[str]:
        """Beside the originals first: a backup has another ending."""
        for name in self.files.names(BESIDE):
            if ".conf" in name or "kubeconfig" in name:
                yield f"{BESIDE}/{name}"
        homes = [f"{HOMES}/{name}" for name in self.files.names(HOMES)]
        for folder in (*COPIES, *homes, *(f"{home}/.kube" for home in homes)):
            for name in self.files.busy(folder):
                if _may_be_a_copy(folder, name):
                    yield f"{folder}/{name}"


def values_of(value: object, key: str) -> Iterator[str]:
    """Every text under this key, wherever it stands."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key and isinstance(inner, str) and inner:
                yield inner
            yield from values_of(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from values_of(inner, key)


def _may_be_a_copy(folder: str, name: str) -> bool:
    if folder.endswith("/.kube"):
        return True
    words = ("kubeconfig", "admin.conf", "kube.conf", "k3s.yaml", "rke2.yaml")
    return any(word in name for word in words) or name.endswith((".kubeconfig", ".conf"))


def _read(files: Files, one: Kubeconfig) -> Kubeconfig:
    real = files.real(one.path)
    try:
        guard = files.guard(one.path, real)
    except MissingError as exc:
        return replace(one, real=real, error=exc.why, absent=True)
    except HostError as exc:
        return replace(one, real=real, error=exc.why)
    one = replace(one, real=real, guard=guard)
    try:
        found = files.host.ask(KubeconfigFile(one.path))
    except HostError as exc:
        return replace(one, error=exc.why)
    if found.error:
        return replace(one, error=found.error)
    return replace(
        one,
        clusters=tuple(_cluster(one.path, row) for row in found.clusters),
        users=tuple(_user(files, one.path, row, guard) for row in found.users),
        contexts=tuple((c.name, c.cluster, c.user) for c in found.contexts),
        current=found.current,
    )


def _cluster(path: str, row: ClusterRow) -> Cluster:
    anchors = None
    if row.anchors:
        contents = PemContents(row.anchors, (), "pem")
        anchors = of_contents(path, contents, part=f"cluster {row.name}", real=path)
    return Cluster(
        row.name, row.server, row.insecure, _from(path, row.authority), anchors, row.proxy
    )


def _from(path: str, name: str) -> str:
    """Relative names count from the kubeconfig's folder, and absolute ones from the root that its
    process sees (/proc/812/root)."""
    inside = _INSIDE.match(path)
    root = inside[0] if inside else ""
    folder = posixpath.dirname(path).removeprefix(root)
    return root + posixpath.normpath(posixpath.join(folder, name)) if name else ""


_INSIDE = pattern(r"/proc/\d+/root(?=/)")


def _user(files: Files, path: str, row: UserRow, guard: Guard) -> User:
    keys = (row.key,) if row.key else ()
    embedded = of_contents(
        path,
        PemContents(row.certificate, keys, "pem"),
        part=f"user {row.name}",
        real=path,
        guard=guard,
    )
    bearer_file = _from(path, row.bearer_file)
    file_token, file_error = token_of(files, bearer_file)
    return User(
        name=row.name,
        certificate=embedded if row.certificate else None,
        key=embedded if row.key and not row.certificate else None,
        certificate_file=_from(path, row.certificate_file),
        key_file=_from(path, row.key_file),
        has_key=row.key is not None,
        token=token_from(row.bearer) if row.bearer else None,
        token_file=bearer_file,
        file_guard=files.guarded(bearer_file),
        file_token=file_token,
        file_error=file_error,
        basic=row.basic,
        command=row.command,
        provider=row.provider,
    )


def token_of(files: Files, path: str) -> tuple[Token | None, str]:
    """The token in a file, and why it could not be read; neither where there is no file."""
    if not path:
        return None, ""
    try:
        return token_from(files.host.ask(TokenFile(path))), ""
    except MissingError:
        return None, ""
    except HostError as exc:
        return None, exc.why


def token_from(row: TokenRow) -> Token:
    return Token(
        row.kind,
        row.length,
        row.sha256,
        row.issuer,
        row.subject,
        row.audience,
        row.issued_at,
        row.expires_at,
        row.legacy,
        row.bound,
        row.public_id,
    )
