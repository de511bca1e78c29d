"""Read single files of certificates and keys, and who may reach them."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from nodeward.facts.acl import XATTR, parse_acl
from nodeward.facts.errors import ParseError
from nodeward.facts.pki import Folder, Guard, Pem, PrivateKey, folders_above, parse_public
from nodeward.host import Host, HostError, MissingError, Stat
from nodeward.host.names import Names
from nodeward.host.pem import LoosePem, PemContents, PemFile
from nodeward.lazy import pattern

MOST_LINKS = 40  # as many as the kernel follows
_PROCESS_ROOT = pattern(r"/proc/\d+/root(?=/)")


@dataclass(slots=True)
class Files:
    """A host, with what was already seen of its directories."""

    host: Host
    unseen: list[str] = field(default_factory=list)
    folders: dict[str, Folder | None] = field(default_factory=dict)

    def names(self, folder: str) -> tuple[str, ...]:
        """The entries of a directory; none where there is none, or it may not be searched (which
        is then said in `unseen`)."""
        try:
            return self.host.names(folder)
        except MissingError:
            return ()
        except HostError as exc:
            self.unseen.append(f"{folder}: {exc.why}")
            return ()

    def busy(self, folder: str) -> tuple[str, ...]:
        """The same of a home or a temporary folder, without having it watched."""
        try:
            return self.host.ask(Names(folder))
        except MissingError:
            return ()
        except HostError as exc:
            self.unseen.append(f"{folder}: {exc.why}")
            return ()

    def there(self, path: str) -> bool:
        try:
            self.host.stat(path)
        except MissingError:
            return False
        except HostError:
            return True  # it is there, or may be: reading it will tell
        return True

    def size(self, path: str) -> int | None:
        """Bytes of a regular file; None for anything else."""
        try:
            at = self.host.stat(path)
        except HostError:
            return None
        return at.size if at.mode & 0o170000 == 0o100000 else None

    def real(self, path: str) -> str:
        try:
            return self.host.real(path)
        except HostError:
            return path

    def guard(self, path: str, real: str) -> Guard:
        at = self.host.stat(path)
        above = tuple(f for p in folders_above(real) if (f := self.folder(p)))
        ways = tuple(self.ways(path, above)) if real != path else ()
        return Guard(at.mode, at.uid, at.gid, at.mtime, self.acl(path, at), above, ways)

    def guarded(self, path: str) -> Guard | None:
        """The same, None where it may not be looked at or is not there."""
        try:
            return self.guard(path, self.real(path)) if path else None
        except HostError:
            return None

    def owned(self, guards: Iterable[Guard | None]) -> bool:
        """Whether owners mean anything: not in a tree where nothing belongs to root, which an
        ordinary user has unpacked."""
        return self.host.live or any(
            uid == 0 for g in guards if g for uid in (g.uid, *(f.uid for f in g.folders))
        )

    def folder(self, path: str) -> Folder | None:
        if path not in self.folders:
            try:
                at = self.host.stat(path)
                self.folders[path] = Folder(path, at.mode, at.uid, at.gid, self.acl(path, at))
            except HostError:
                self.folders[path] = None
        return self.folders[path]

    def acl(self, path: str, at: Stat) -> tuple[str, ...]:
        """The group bits are the mask of an access list: without them it gives nobody anything."""
        if not at.mode & 0o070:
            return ()
        try:
            return parse_acl(self.host.xattr(path, XATTR), at.gid or None)
        except (HostError, ParseError):
            return ()

    def ways(self, path: str, known: tuple[Folder, ...]) -> Iterator[Folder]:
        """Who can replace a link on the way can replace the file."""
        seen = {f.path for f in known}
        for folder, link, at in self.links(path):
            for one in (folder, *folders_above(folder)):
                if one not in seen and (found := self.folder(one)):
                    yield found
                seen.add(one)
            holder = self.folder(folder)
            if at.uid and holder and holder.mode & stat.S_ISVTX:
                yield Folder(link, at.mode, at.uid, at.gid)

    def links(self, path: str) -> Iterator[tuple[str, str, Stat]]:
        """The links on the way to a file: the directory in which each lies, its path, itself."""
        root = found[0] if (found := _PROCESS_ROOT.match(path)) else ""
        here, todo, count = root, path[len(root) :].split("/"), 0
        while todo and count < MOST_LINKS:
            part = todo.pop(0)
            if part in ("", ".."):
                here = here.rpartition("/")[0] if part and here != root else here
                continue
            try:
                at = self.host.lstat(f"{here}/{part}")
                target = self.host.link(f"{here}/{part}") if stat.S_ISLNK(at.mode) else None
            except HostError:
                return
            if target is None:
                here = f"{here}/{part}"
                continue
            yield here or "/", f"{here}/{part}", at
            count, todo = count + 1, target.split("/") + todo
            here = root if target.startswith("/") else here

    def pem(self, path: str, *, loose: bool = False) -> Pem:
        """One file, whatever it holds. `loose`: nothing names it, and it may be of any form."""
        real = self.real(path)
        try:
            guard = self.guard(path, real)
            found = self.host.ask(LoosePem(path) if loose else PemFile(path))
        except MissingError as exc:
            return Pem(path, real=real, error=exc.why, absent=True)
        except HostError as exc:
            return self.unread(path, real, exc.why)
        return of_contents(path, found, real=real, guard=guard)

    def unread(self, path: str, real: str, why: str) -> Pem:
        """Its mode can be judged even so."""
        try:
            return Pem(path, real=real, error=why, guard=self.guard(path, real))
        except HostError:
            return Pem(path, real=real, error=why)


def of_contents(
    path: str, found: PemContents, *, part: str = "", real: str = "", guard: Guard | None = None
) -> Pem:
    bundle = parse_public(found.public.encode("ascii", "replace"))
    der = found.form == "der" and bundle.certificates
    return Pem(
        path,
        part,
        real=real,
        certificates=bundle.certificates,
        public_keys=bundle.public_keys,
        keys=tuple(PrivateKey(k.kind, k.bits, k.spki_sha256, k.error) for k in found.keys),
        broken=bundle.broken,
        headless=bundle.headless,
        refused="programs in Go take none from it: it is DER, not PEM" if der else bundle.refused,
        form=found.form,
        guard=guard,
    )
