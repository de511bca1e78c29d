"""Find and read the certificates and keys of a node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from nodeward.facts.flags import parse_flags
from nodeward.facts.node import Node
from nodeward.facts.pki import (
    Folder,
    Guard,
    Kind,
    Pem,
    Pki,
    PrivateKey,
    Use,
    folders_above,
    parse_public,
)
from nodeward.facts.pki_places import (
    CERTIFICATE_ENDINGS,
    KEY_ENDINGS,
    KUBELET_FOLDERS,
    PLACES,
    PROGRAM_OF,
    SUPERVISORS,
    Place,
    uses_of,
)
from nodeward.facts.processes import Processes
from nodeward.host import Host, HostError, MissingError
from nodeward.host.pem import PemFile
from nodeward.model import Absent, Unreadable
from nodeward.probes.registry import probe


@probe
def read_pki(host: Host, node: Node, processes: Processes | Absent | Unreadable) -> Pki:
    search = _Search(host, processes if isinstance(processes, Processes) else None)
    search.of_processes()
    search.of_places()
    search.of_kubelet()
    pems = tuple(search.read(path) for path in dict.fromkeys(u.path for u in search.uses))
    return Pki(
        pems=pems,
        uses=tuple(search.uses),
        distribution=node.distribution,
        owners=_owned(host, pems),
        unseen=tuple(search.unseen),
        control_plane=node.control_plane,
        supervisor_started=search.supervisor_started(),
    )


@dataclass(slots=True)
class _Search:
    """Collects uses: first what arguments name, then what lies at the distributions' places."""

    host: Host
    processes: Processes | None
    uses: list[Use] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    folders: dict[str, Folder | None] = field(default_factory=dict)

    def of_processes(self) -> None:
        for process in self.processes.rows if self.processes else ():
            flags = parse_flags((process.argv or ())[1:])
            self.uses += uses_of(process.program, flags, f"pid {process.pid}")

    def of_places(self) -> None:
        for place in PLACES:
            for name in self.names(place.folder):
                if use := _at_place(place, name):
                    self.add(use)

    def of_kubelet(self) -> None:
        """The folder in which the kubelet keeps what it rotates, and what it made itself."""
        for folder in KUBELET_FOLDERS:
            names = self.names(folder)
            for kind in ("client", "server"):
                self.rotated(folder, names, kind)
            if "kubelet.crt" in names:
                own = Use("kubelet-server", Kind.CERTIFICATE, f"{folder}/kubelet.crt")
                self.add(own if "kubelet-server-current.pem" not in names else _orphan(own))
            if "kubelet.key" in names:
                self.add(Use("kubelet-server", Kind.KEY, f"{folder}/kubelet.key"))

    def rotated(self, folder: str, names: Iterable[str], kind: str) -> None:
        current = f"kubelet-{kind}-current.pem"
        target = self.real(f"{folder}/{current}") if current in names else None
        for name in names:
            if not (name.startswith(f"kubelet-{kind}-") and name.endswith(".pem")):
                continue
            path = f"{folder}/{name}"
            if name != current and path == target:
                continue
            for use in Kind.CERTIFICATE, Kind.KEY:
                one = Use(f"kubelet-{kind}", use, path)
                self.add(one if name == current else replace(_orphan(one), superseded=True))

    def add(self, use: Use) -> None:
        """What lies at a place: in use unless arguments name another file for the same."""
        same = [u for u in self.uses if (u.component, u.kind) == (use.component, use.kind)]
        if any(u.path == use.path for u in same):
            return
        named = any(u.named_by != use.named_by for u in same)
        self.uses.append(_orphan(use) if named or not self.runs(use.component) else use)

    def runs(self, component: str) -> bool:
        """Whether the daemon of a component runs. Without a process table all count as running;
        and where processes may be hidden from us, a missing one proves nothing."""
        program = PROGRAM_OF.get(component)
        if program is None or self.processes is None or not self.processes.complete:
            return True
        return any(self.processes.running(program, *SUPERVISORS))

    def supervisor_started(self) -> float | None:
        rows = self.processes.running(*SUPERVISORS) if self.processes else ()
        return next((p.started_at for p in rows if p.started_at is not None), None)

    def names(self, folder: str) -> tuple[str, ...]:
        try:
            return self.host.names(folder)
        except MissingError:
            return ()
        except HostError as exc:
            self.unseen.append(f"{folder}: {exc.why}")
            return ()

    def real(self, path: str) -> str | None:
        try:
            return self.host.real(path)
        except HostError:
            return None

    def read(self, path: str) -> Pem:
        real = self.real(path) or path
        try:
            guard = self.guard(path, real)
            contents = self.host.ask(PemFile(path))
        except MissingError as exc:
            return Pem(path, real=real, error=exc.why, absent=True)
        except HostError as exc:
            return Pem(path, real=real, error=exc.why)
        certificates, public, broken = parse_public(contents.public.encode("ascii"))
        return Pem(
            path,
            real=real,
            certificates=tuple(certificates),
            public_keys=tuple(public),
            keys=tuple(PrivateKey(k.kind, k.bits, k.spki_sha256, k.error) for k in contents.keys),
            broken=tuple(broken),
            form=contents.form,
            guard=guard,
        )

    def guard(self, path: str, real: str) -> Guard:
        at = self.host.stat(path)
        above = (self.folder(p) for p in folders_above(real))
        return Guard(at.mode, at.uid, at.gid, at.mtime, folders=tuple(f for f in above if f))

    def folder(self, path: str) -> Folder | None:
        if path not in self.folders:
            try:
                at = self.host.stat(path)
                self.folders[path] = Folder(path, at.mode, at.uid, at.gid)
            except HostError:
                self.folders[path] = None
        return self.folders[path]


def _at_place(place: Place, name: str) -> Use | None:
    for ending in (*KEY_ENDINGS, *CERTIFICATE_ENDINGS, ".pub"):
        if name.endswith(ending):
            component, kind = place.names.get(name.removesuffix(ending), ("", Kind.CERTIFICATE))
            if not component:
                return None
            if ending == ".pub":
                kind = Kind.PUBLIC_KEY
            elif ending in KEY_ENDINGS:
                kind = Kind.KEY
            return Use(component, kind, f"{place.folder}/{name}")
    return None


def _orphan(use: Use) -> Use:
    return replace(use, in_use=False)


def _owned(host: Host, pems: Iterable[Pem]) -> bool:
    def uids() -> Iterator[int]:
        for pem in pems:
            if pem.guard:
                yield pem.guard.uid
                yield from (f.uid for f in pem.guard.folders)

    return host.live or 0 in uids()
