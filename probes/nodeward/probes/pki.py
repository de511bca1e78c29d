"""Find and read the certificates and keys of a node."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nodeward.facts.daemons import APISERVER, PROGRAMS, SUPERVISORS, Daemon, Daemons
from nodeward.facts.errors import ParseError
from nodeward.facts.kubeconfig import ComponentKubeconfigs, Kubeconfigs
from nodeward.facts.kubelet import Kubelet
from nodeward.facts.kubeyaml import parse_document
from nodeward.facts.manifests import Manifests
from nodeward.facts.node import Node, Role
from nodeward.facts.pki import LOOSE, ComponentPki, Kind, Pem, Pki, Use
from nodeward.facts.pki_places import (
    CERTIFICATE_ENDINGS,
    COPIES,
    HOMES,
    JSON_ENDING,
    KEY_ENDINGS,
    OPENSHIFT,
    Place,
    kubelet_folders,
    of_openshift,
    own_pair_of,
    places,
    uses_of,
    would_run,
)
from nodeward.facts.processes import Processes
from nodeward.facts.stopped_kubelet import StoppedKubelet, whichever
from nodeward.facts.strays import Strays
from nodeward.facts.supervisors import NOWHERE, Homes
from nodeward.facts.webhooks import COMPONENT, Webhooks
from nodeward.host import Host, HostError
from nodeward.model import Absent, Unreadable
from nodeward.probes.kubeconfigs import values_of
from nodeward.probes.pki_files import Files
from nodeward.probes.registry import probe
from nodeward.probes.stray_keys import StrayKeys

CERT_DIR = "/var/lib/kubelet/pki"
_EGRESS = "egress-selector-config-file"
_EGRESS_FIELDS = {
    "caBundle": ("egress-ca", Kind.TRUST),
    "clientCert": ("egress-client", Kind.CERTIFICATE),
    "clientKey": ("egress-client", Kind.KEY),
}
MOST_LOOSE, LARGEST_LOOSE = 200, 64 << 10


@probe
def read_component_pki(
    host: Host,
    node: Node,
    processes: Processes | Absent | Unreadable,
    daemons: Daemons | Absent | Unreadable,
    kubelet: Kubelet | Absent | Unreadable,
    stopped: StoppedKubelet | Absent | Unreadable,
    homes: Homes | Absent | Unreadable,
    manifests: Manifests | Absent | Unreadable,
    kubeconfigs: ComponentKubeconfigs | Absent | Unreadable,
    webhooks: Webhooks | Absent | Unreadable,
) -> ComponentPki:
    files = Files(host)
    known = daemons if isinstance(daemons, Daemons) else None
    at = homes if isinstance(homes, Homes) else NOWHERE
    search = _Search(files, known, at)
    search.of_daemons()
    either = whichever(kubelet, stopped)
    own = either if isinstance(either, Kubelet) else None
    search.of_settings(own)
    search.of_kubeconfigs(kubeconfigs if isinstance(kubeconfigs, Kubeconfigs) else None)
    search.of_webhooks(webhooks if isinstance(webhooks, Webhooks) else None)
    search.of_kubelet_folders(own, _rotates(either))
    search.of_places()
    search.of_openshift()
    pems = search.read({})
    return ComponentPki(
        pems=tuple(pems.values()),
        uses=tuple(search.uses),
        distribution=node.distribution,
        owners=files.owned(p.guard for p in pems.values()),
        unseen=(
            *files.unseen,
            *_not_read(daemons, "the arguments of daemons"),
            *_not_read(kubelet, "the kubelet's settings"),
            *_not_read(kubeconfigs, "kubeconfigs"),
            *(f"the data directory: {why}" for why in at.unseen),
            *_untold_daemons(manifests, known),
        ),
        control_plane=node.control_plane,
        etcd=Role.ETCD in node.roles,
        rotates=_rotates(either),
        supervisor_started=_supervisor_started(processes),
        homes=at,
        stopped=tuple(_stopped(known, at)),
        running=(*(d.program for d in known.rows if d.pid), *known.supervisors) if known else (),
    )


@probe
def read_pki(
    host: Host,
    own: ComponentPki,
    kubeconfigs: Kubeconfigs | Absent | Unreadable,
    strays: Strays | Absent | Unreadable,
) -> Pki:
    """What the components have, and what lies about."""
    files = Files(host)
    search = _Search(files, None, own.homes, list(own.uses))
    search.places |= {(one.component, one.kind, one.path, one.part) for one in own.uses}
    search.of_kubeconfigs(kubeconfigs if isinstance(kubeconfigs, Kubeconfigs) else None)
    search.of_copies()
    lying = strays if isinstance(strays, Strays) else None
    search.of_strays(lying)
    pems = search.read({(p.path, p.part): p for p in own.pems})
    keys = StrayKeys(files, search.uses, pems)
    keys.find(lying)
    return Pki(
        pems=tuple(pems.values()),
        uses=tuple(search.uses),
        distribution=own.distribution,
        owners=own.owners or files.owned(p.guard for p in pems.values()),
        unseen=(*own.unseen, *files.unseen, *_not_read(kubeconfigs, "kubeconfigs")),
        control_plane=own.control_plane,
        etcd=own.etcd,
        rotates=own.rotates,
        unsearched=(*keys.unsearched, *_not_read(strays, "keys that lie about")),
        locked=tuple(keys.locked),
        supervisor_started=own.supervisor_started,
        homes=own.homes,
        stopped=own.stopped,
        running=own.running,
    )


def _not_read(reading: object, what: str) -> tuple[str, ...]:
    """What a place would have named is then missing here, and that must be known."""
    return (f"{what}: {reading.error}",) if isinstance(reading, Unreadable) else ()


def _untold_daemons(
    manifests: Manifests | Absent | Unreadable, daemons: Daemons | None
) -> Iterator[str]:
    """Manifests that cannot be read, of daemons that nothing else tells of: what they name is then
    not known. Other broken files in that folder are none of this."""
    known = {d.program for d in daemons.rows} if daemons else set()
    for one in manifests.bad if isinstance(manifests, Manifests) else ():
        name = posixpath.basename(one.path)
        if any(program in name for program in PROGRAMS if program not in known):
            yield f"{one.path}: {one.error}"


def _stopped(daemons: Daemons | None, homes: Homes) -> Iterator[str]:
    """Programs that something here would start, and that do not run."""
    if daemons is not None and daemons.table and daemons.complete:
        yield from (d.program for d in daemons.rows if d.pid is None)
        yield from homes.planned()


def _supervisor_started(processes: Processes | Absent | Unreadable) -> float | None:
    rows = processes.running(*SUPERVISORS) if isinstance(processes, Processes) else ()
    return next((p.started_at for p in rows if p.started_at is not None), None)


def _rotates(kubelet: Kubelet | Absent | Unreadable) -> tuple[str, ...] | None:
    """What the kubelet's settings have it rotate. None where they cannot be told."""
    if not isinstance(kubelet, Kubelet):
        return None
    settings = {"kubelet-client": "rotateCertificates", "kubelet-server": "serverTLSBootstrap"}
    values = {name: kubelet.get(path).value for name, path in settings.items()}
    if not all(isinstance(v, bool) for v in values.values()):
        return None
    return tuple(name for name, value in values.items() if value)


_NO_CERTIFICATE = ("copy", "cni", "kubelet-bootstrap")  # no component's own credential
_SETTINGS = (
    ("tlsCertFile", "kubelet-server", Kind.CERTIFICATE),
    ("tlsPrivateKeyFile", "kubelet-server", Kind.KEY),
    ("authentication.x509.clientCAFile", "kubelet-client-ca", Kind.TRUST),
)


@dataclass(slots=True)
class _Search:
    """Collects uses: first what arguments and settings name, then what lies at usual places."""

    files: Files
    daemons: Daemons | None
    homes: Homes
    uses: list[Use] = field(default_factory=list)
    embedded: list[Pem] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    places: set[tuple[str, Kind, str, str]] = field(default_factory=set)
    named: set[tuple[str, Kind]] = field(default_factory=set)

    def read(self, known: Mapping[tuple[str, str], Pem]) -> dict[tuple[str, str], Pem]:
        """What is at each place that something uses, by path and part; `known` is read already."""
        pems = {**known, **{(p.path, p.part): p for p in self.embedded}}
        for use in self.uses:
            if (use.path, use.part) not in pems:
                loose = use.path in self.secrets
                pems[use.path, use.part] = self.files.pem(use.path, loose=loose)
        return pems

    def name(self, use: Use) -> None:
        """An argument, a setting or a kubeconfig names it."""
        if self.fresh(use):
            self.uses.append(use)
            if use.in_use:
                self.named.add((use.component, use.kind))

    def add(self, use: Use) -> None:
        """It lies at a usual place: in use unless something names another file for the same."""
        if self.fresh(use):
            named = (use.component, use.kind) in self.named
            used = not named and would_run(use.component, self.daemons, self.homes)
            self.uses.append(use if used else _orphan(use))

    def fresh(self, use: Use) -> bool:
        place = (use.component, use.kind, use.path, use.part)
        new = place not in self.places
        self.places.add(place)
        return new

    def of_daemons(self) -> None:
        for daemon in self.daemons.rows if self.daemons else ():
            for use in uses_of(daemon):
                self.name(use)
            for use in own_pair_of(daemon):
                if self.files.there(use.path):
                    self.name(use)
            if daemon.program == APISERVER and (path := daemon.flag(_EGRESS)):
                self.of_egress(daemon, path)

    def of_egress(self, daemon: Daemon, path: str) -> None:
        """The proxies to the nodes: egressSelections[].connection.transport.tcp.tlsConfig."""
        place = daemon.outside(path)
        try:
            value = parse_document(self.files.host.read(place), place).value
        except (HostError, ParseError) as exc:
            why = exc.why if isinstance(exc, HostError) else str(exc)
            self.files.unseen.append(f"{place}: {why}")
            return
        for key, (component, kind) in _EGRESS_FIELDS.items():
            for named in values_of(value, key):
                named_by = f"{place} {key}"
                self.name(Use(component, kind, daemon.outside(named), named_by=named_by))

    def of_settings(self, kubelet: Kubelet | None) -> None:
        """Of further kubelets here that have files of their own (kind) only whom they let in: their
        certificates are those of other nodes."""
        if kubelet is None:
            return
        every = [(kubelet, row) for row in _SETTINGS]
        every += [
            (one, row)
            for one in kubelet.others
            for row in _SETTINGS
            if row[2] is Kind.TRUST or not one.root
        ]
        for one, (path, component, kind) in every:
            if (place := one.path(path)) is not None:
                named_by = one.get(path).source
                self.name(Use(component, kind, one.root + place, named_by=named_by))

    def of_kubeconfigs(self, kubeconfigs: Kubeconfigs | None) -> None:
        for one in kubeconfigs.rows if kubeconfigs else ():
            if one.error and not one.absent and one.component not in _NO_CERTIFICATE:
                unread = Pem(one.path, real=one.real, error=one.error, guard=one.guard)
                self.embedded.append(unread)
                use = Use(one.component, Kind.CERTIFICATE, one.path, in_use=one.in_use)
                self.name(replace(use, named_by=one.named_by))
            for user in one.users:
                base = Use(one.component, Kind.CERTIFICATE, one.path, "", one.path, one.in_use)
                if user.certificate:
                    self.embedded.append(user.certificate)
                    self.name(replace(base, part=user.certificate.part))
                elif user.certificate_file:
                    self.name(replace(base, path=user.certificate_file))
                if user.key:
                    self.embedded.append(user.key)
                    self.name(replace(base, kind=Kind.KEY, part=user.key.part))
                elif user.key_file:
                    self.name(replace(base, kind=Kind.KEY, path=user.key_file))
            for cluster in one.clusters:
                whose = "webhook-ca" if one.component == "webhook" else "cluster-root-ca"
                trust = Use(whose, Kind.TRUST, one.path, "", one.path, one.in_use)
                if cluster.anchors:
                    self.embedded.append(cluster.anchors)
                    self.name(replace(trust, part=cluster.anchors.part))
                elif cluster.authority:
                    self.name(replace(trust, path=cluster.authority))

    def of_webhooks(self, webhooks: Webhooks | None) -> None:
        """Their keys are their own pods' matter: those are no daemons of the node."""
        for one in webhooks.rows if webhooks else ():
            for path, named_by in one.certificates:
                self.name(Use(COMPONENT, Kind.CERTIFICATE, path, named_by=named_by))

    def of_kubelet_folders(self, kubelet: Kubelet | None, rotates: Sequence[str] | None) -> None:
        """Where it keeps what it makes and rotates. Of a kubelet that is known one folder counts,
        and of its two serving certificates the one that its settings have it use."""
        given = kubelet.flag("cert-dir") if kubelet else None
        folders, own = [*kubelet_folders(self.homes)], None
        if kubelet:
            path = posixpath.join(kubelet.launch.cwd, given.value) if given else CERT_DIR
            own = kubelet.root + posixpath.normpath(path)
            folders.insert(0, own)
        for folder in dict.fromkeys(folders):
            names = self.files.names(folder)
            used = own is None or folder == own
            asks = "kubelet-server-current.pem" in names
            if rotates is not None:
                asks = "kubelet-server" in rotates
            self.rotated(folder, names, "client", used=used)
            self.rotated(folder, names, "server", used=used and asks)
            if "kubelet.crt" in names:
                made = Use("kubelet-server", Kind.CERTIFICATE, f"{folder}/kubelet.crt")
                self.add(made if used and not asks else _orphan(made))
            if "kubelet.key" in names:
                self.add(Use("kubelet-server", Kind.KEY, f"{folder}/kubelet.key"))

    def rotated(self, folder: str, names: Iterable[str], kind: str, *, used: bool) -> None:
        current = f"kubelet-{kind}-current.pem"
        target = self.files.real(f"{folder}/{current}") if current in names else None
        for name in names:
            if not (name.startswith(f"kubelet-{kind}-") and name.endswith(".pem")):
                continue
            path = f"{folder}/{name}"
            if name != current and path == target:
                continue
            for use in Kind.CERTIFICATE, Kind.KEY:
                one = Use(f"kubelet-{kind}", use, path)
                if name == current:
                    self.add(one if used else _orphan(one))
                else:
                    self.add(replace(_orphan(one), superseded=True))

    def of_places(self) -> None:
        for place in places(self.homes):
            for name in self.files.names(place.folder):
                for use in _at_place(place, name):
                    self.add(_orphan(use) if place.left else use)
                    if name.endswith(JSON_ENDING):
                        self.secrets.add(use.path)

    def of_copies(self) -> None:
        """Certificates where administrators and scripts leave them; anyone may write there."""
        homes = [f"{HOMES}/{name}" for name in self.files.names(HOMES)]
        count, known = 0, {use.path for use in self.uses}
        for folder in (*COPIES, *homes, *(f"{home}/.kube" for home in homes)):
            for name in self.files.busy(folder):
                path = f"{folder}/{name}"
                wanted = name.endswith(CERTIFICATE_ENDINGS) and not name.endswith(KEY_ENDINGS)
                size = self.files.size(path) if wanted and path not in known else None
                if size is None or size > LARGEST_LOOSE:
                    continue
                count += 1
                if count > MOST_LOOSE:
                    self.files.unseen.append(f"{path} and more: too many certificates lie about")
                    return
                self.name(Use(LOOSE, Kind.CERTIFICATE, path, in_use=False))

    def of_strays(self, strays: Strays | None) -> None:
        known = {use.path for use in self.uses}
        for one in strays.rows if strays else ():
            if one.group and not one.kubeconfig and one.path not in known:
                self.embedded.append(self.files.pem(one.path, loose=True))
                self.name(Use(LOOSE, Kind.CERTIFICATE, one.path, in_use=False))

    def of_openshift(self) -> None:
        """The newest revision of each static pod is what runs; older ones are left over."""
        for pod, current in _revisions(self.files.names(OPENSHIFT)):
            folder = f"{OPENSHIFT}/{pod}/secrets"
            for secret in self.files.names(folder):
                for name in self.files.names(f"{folder}/{secret}"):
                    if found := of_openshift(secret, name):
                        use = Use(*found, f"{folder}/{secret}/{name}")
                        self.add(use if current else replace(_orphan(use), superseded=True))


def _revisions(names: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Each folder of static pods, and whether none of its name has a higher number."""
    newest: dict[str, int] = {}
    numbered = []
    for name in names:
        stem, _, number = name.rpartition("-")
        stem, revision = (stem, int(number)) if number.isdecimal() else (name, 0)
        newest[stem] = max(newest.get(stem, 0), revision)
        numbered.append((name, stem, revision))
    for name, stem, revision in numbered:
        yield name, revision == newest[stem]


def _at_place(place: Place, name: str) -> Iterator[Use]:
    for ending in (*KEY_ENDINGS, *CERTIFICATE_ENDINGS, ".pub", JSON_ENDING):
        if name.endswith(ending):
            component, kind = place.names.get(name.removesuffix(ending), ("", Kind.CERTIFICATE))
            if not component:
                return
            if ending == JSON_ENDING:
                yield Use(component, Kind.KEY, f"{place.folder}/{name}")
            if ending == ".pub":
                kind = Kind.PUBLIC_KEY
            elif ending in KEY_ENDINGS:
                kind = Kind.KEY
            yield Use(component, kind, f"{place.folder}/{name}")
            return


def _orphan(use: Use) -> Use:
    return replace(use, in_use=False)
