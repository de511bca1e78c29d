"""Read single files of certificates and keys, and who may reach them."""

from __future__ import annotations

from dataclasses import dataclass, field

from nodeward.facts.acl import XATTR, parse_acl
from nodeward.facts.errors import ParseError
from nodeward.facts.pki import Folder, Guard, Pem, PrivateKey, folders_above, parse_public
from nodeward.host import Host, HostError, MissingError
from nodeward.host.names import Names
from nodeward.host.pem import PemContents, PemFile


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
        above = (self.folder(p) for p in folders_above(real))
        # The group bits are the mask of an access list: without them it gives nobody anything.
        acl = self.acl(path) if at.mode & 0o070 else ()
        return Guard(at.mode, at.uid, at.gid, at.mtime, acl, tuple(f for f in above if f))

    def folder(self, path: str) -> Folder | None:
        if path not in self.folders:
            try:
                at = self.host.stat(path)
                self.folders[path] = Folder(path, at.mode, at.uid, at.gid)
            except HostError:
                self.folders[path] = None
        return self.folders[path]

    def acl(self, path: str) -> tuple[str, ...]:
        try:
            return parse_acl(self.host.xattr(path, XATTR))
        except (HostError, ParseError):
            return ()

    def pem(self, path: str) -> Pem:
        """One file, whatever it holds."""
        real = self.real(path)
        try:
            guard = self.guard(path, real)
            found = self.host.ask(PemFile(path))
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
    certificates, public, broken = parse_public(found.public.encode("ascii", "replace"))
    return Pem(
        path,
        part,
        real=real,
        certificates=tuple(certificates),
        public_keys=tuple(public),
        keys=tuple(PrivateKey(k.kind, k.bits, k.spki_sha256, k.error) for k in found.keys),
        broken=tuple(broken),
        form=found.form,
        guard=guard,
    )
