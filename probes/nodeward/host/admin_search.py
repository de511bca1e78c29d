"""Files anywhere in some folders that hold a certificate of an administrators' group, or a key.

One question for all of them: what a probe reads file by file is watched, and homes change all the
time. A file is opened only where its name and size let it be a certificate, a key or a kubeconfig;
of what it holds, nothing but the group's name is told, and that a private key is there. Folders are
looked through in the order of their depth, so that what is left out where a bound is reached lies
deepest.
"""

from __future__ import annotations

import os
import re
import stat as statmod
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.base import HostError, MissingError
from nodeward.host.masks import ITS_ROOT, behind
from nodeward.host.pem import decoded, encoded, holds_key, plain_texts
from nodeward.host.query import Query
from nodeward.lazy import dataclass, pattern

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

MOST_ENTRIES, MOST_FILES, MOST_BYTES, MOST_DEPTH = 30_000, 3_000, 64 << 20, 24
LARGEST, MOST_NAMED = 256 << 10, 10
_NAME = pattern(
    r"(?i)(?:\.(?:conf|config|kubeconfig|crt|cert|cer|pem|der|key|ya?ml|json)(?:$|[.~_-])|^config|kube)"
    r"(?!.*\.(?:py[cio]?|so|js|ts|go|h|html?|md|rb|mo)$)"
)
_MARK = b"CERTIFICATE-----"
_BLOCK = pattern(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----(.*?)(?:-----END|\Z)", re.DOTALL)
_KUBECONFIG = b"client-certificate-data"
_TOKEN = pattern(rb"""\btoken["']?\s*:\s*["']?eyJ""")
"""A JSON web token in a kubeconfig."""
_STORES = ("overlay", "io.containerd.")
"""Folders of containers' images and layers, by their names' beginning."""
_CODE = frozenset(("__pycache__", "node_modules", "site-packages", "dist-packages", ".git"))
"""Folders that programs fill with files of their own, by the ten thousand."""
_LOCAL = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "tmpfs", "vfat")
)
_NO_HOMES = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/lib", "/dev", "/proc", "/sys", "/run")
"""Where accounts of daemons are at home that have none."""
_SYSTEMS = frozenset(
    "bin boot dev lib lib32 lib64 libx32 lost+found proc run sbin sys usr var".split()  # noqa: SIM905
)
_STEP = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class AdministratorFile:
    """`group` is that of a certificate in it, "" for none. `kubeconfig`: it is of that form;
    otherwise a certificate or something that holds one. `key`: a private key is in it; `token`: a
    JSON web token, in a kubeconfig."""

    path: str
    group: str
    kubeconfig: bool
    key: bool = False
    token: bool = False


@dataclass(frozen=True, slots=True)
class AdministratorFiles:
    """`files` were opened among `entries`. `stopped` says which bound ended the search and where,
    "" if none; `unseen` what could not be searched, with the reason; `elsewhere` what is another
    file system, or a file too large to be one, and was left alone on purpose; `outside` which
    folders of "/" are not a system's own, and were not asked for."""

    rows: tuple[AdministratorFile, ...]
    folders: tuple[str, ...]
    entries: int
    files: int
    stopped: str = ""
    unseen: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdministratorSearch(Query[AdministratorFiles]):
    """Below these folders and the homes of passwd(5), except below `without`. Links are not
    followed inside them."""

    answer_type: ClassVar[object] = AdministratorFiles
    at_rest: ClassVar[bool] = True

    folders: tuple[str, ...]
    groups: tuple[str, ...]
    without: tuple[str, ...] = ()
    most_entries: int = MOST_ENTRIES
    most_files: int = MOST_FILES

    def answer(self, host: TreeHost) -> AdministratorFiles:
        folders = tuple(dict.fromkeys((*self.folders, *_homes(host))))
        search = _Search(self, host, _file_systems(host))
        search.run(folders)
        return AdministratorFiles(
            tuple(search.rows),
            folders,
            search.entries,
            search.files,
            search.stopped,
            tuple(search.unseen),
            (*search.elsewhere, *_too_large(search.large)),
            tuple(_outside(host, folders)),
        )


def group_in(raw: bytes, groups: tuple[str, ...]) -> str:
    """The first of these groups that a certificate in this text is of: PEM, DER, or PEM in base64
    as in kubeconfigs and Secrets, on one line or several."""
    if raw[:1] != b"\x30" and _MARK not in raw and not encoded(raw):
        return ""
    names = [(group.encode("ascii"), group) for group in groups]
    for certificate in _certificates(raw):
        for name, group in names:
            if name in certificate:
                return group
    return ""


def _certificates(raw: bytes) -> Iterator[bytes]:
    if raw[:1] == b"\x30":
        yield raw
    for text in plain_texts(raw):
        for block in _BLOCK.finditer(text):
            yield decoded(block[1])


def _homes(host: TreeHost) -> tuple[str, ...]:
    try:
        text = host.read("/etc/passwd", limit=4 << 20).decode("utf-8", "surrogateescape")
    except HostError:
        return ()  # /root and /home are searched anyhow
    return tuple(homes_of(text))


def _too_large(paths: list[str]) -> Iterator[str]:
    """Some of them by name, and how many more there are."""
    yield from (f"{path}: larger than {LARGEST >> 10} KiB" for path in paths[:MOST_NAMED])
    if len(paths) > MOST_NAMED:
        yield f"{len(paths) - MOST_NAMED} more files larger than {LARGEST >> 10} KiB"


def _outside(host: TreeHost, folders: tuple[str, ...]) -> Iterator[str]:
    try:
        for name in host.names("/"):
            asked = any(_inside(folder, f"/{name}") for folder in folders)
            if name not in _SYSTEMS and not asked and statmod.S_ISDIR(host.lstat(f"/{name}").mode):
                yield f"/{name}"
    except HostError:
        return  # what is searched is told all the same


def _file_systems(host: TreeHost) -> Mapping[str, str]:
    """Mount point -> type, as the machine's first process sees it, proc_pid_mountinfo(5)."""
    try:
        text = host.read("/proc/1/mountinfo", limit=4 << 20).decode("utf-8", "surrogateescape")
    except HostError:
        return {}
    found = {}
    for line in text.split("\n"):
        before, dash, after = line.partition(" - ")
        if dash and len(fields := before.split(" ")) > 4:
            found[fields[4]] = after.split(" ")[0]
    return found


@dataclass(slots=True)
class _Search:
    want: AdministratorSearch
    host: TreeHost
    mounts: Mapping[str, str]
    rows: list[AdministratorFile] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    large: list[str] = field(default_factory=list)
    entries: int = 0
    files: int = 0
    size: int = 0
    stopped: str = ""
    todo: deque[tuple[str, int, int | None]] = field(default_factory=deque)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def run(self, folders: tuple[str, ...]) -> None:
        self.todo.extend((folder, 0, None) for folder in folders)
        while self.todo and not self.stopped:
            folder, depth, device = self.todo.popleft()
            if depth > MOST_DEPTH:
                self.stopped = f"{folder}: deeper than {MOST_DEPTH} folders"
            elif not self.foreign(folder):
                self.folder(folder, depth, device)

    def foreign(self, folder: str) -> bool:
        """A network's or the kernel's own: told from the table, since touching it may hang."""
        kind = self.mounts.get(folder)
        if kind is None or kind in _LOCAL:
            return False
        self.elsewhere.append(f"{folder}: {kind}")
        return True

    def folder(self, folder: str, depth: int, device: int | None) -> None:
        place = behind(folder) if self.host.live else folder
        try:
            if place != folder:
                self.host.stat(f"{ITS_ROOT}/")
        except HostError as exc:
            self.unseen.append(f"{folder}: our service has its own, and the host's: {exc.why}")
            return
        try:
            self.host.at(place, lambda fd: self.entered(fd, folder, depth, device))
        except MissingError:
            return
        except HostError as exc:
            self.unseen.append(f"{folder}: {exc.why}")

    def entered(self, fd: int, folder: str, depth: int, device: int | None) -> None:
        at = os.fstat(fd)
        if (at.st_dev, at.st_ino) in self.seen or not statmod.S_ISDIR(at.st_mode):
            return
        self.seen.add((at.st_dev, at.st_ino))
        if device not in (None, at.st_dev) and not self.mounts.get(folder):
            self.elsewhere.append(f"{folder}: another file system")
            return
        inside = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            with os.scandir(inside) as entries:
                for entry in entries:
                    self.entries += 1
                    if self.entries > self.want.most_entries:
                        self.stopped = f"{folder}: more than {self.want.most_entries} entries"
                        return
                    self.entry(entry, inside, f"{folder}/{entry.name}", depth, at.st_dev)
                    if self.stopped:
                        return
        finally:
            os.close(inside)

    def entry(
        self, entry: os.DirEntry[str], inside: int, path: str, depth: int, device: int
    ) -> None:
        if entry.is_dir(follow_symlinks=False):
            left_alone = entry.name in _CODE or entry.name.startswith(_STORES)
            if path not in self.want.without and not left_alone:
                self.todo.append((path, depth + 1, device))
        elif _NAME.search(entry.name) and entry.is_file(follow_symlinks=False):
            try:
                self.file(entry.name, inside, path)
            except FileNotFoundError:
                return
            except OSError as exc:
                self.unseen.append(f"{path}: {exc.strerror}")

    def file(self, name: str, inside: int, path: str) -> None:
        if self.files >= self.want.most_files or self.size > MOST_BYTES:
            self.stopped = f"{path}: more than {self.want.most_files} files or {MOST_BYTES} bytes"
            return
        fd = os.open(name, _STEP, dir_fd=inside)
        try:
            at = os.fstat(fd)
            if statmod.S_ISREG(at.st_mode) and at.st_size > LARGEST:
                self.large.append(path)
            if not statmod.S_ISREG(at.st_mode) or not 0 < at.st_size <= LARGEST:
                return
            raw = os.read(fd, LARGEST)
        finally:
            os.close(fd)
        self.files, self.size = self.files + 1, self.size + len(raw)
        group, key = group_in(raw, self.want.groups), holds_key(raw)
        token = b"clusters" in raw and b"users" in raw and _TOKEN.search(raw) is not None
        if group or key or token:
            form = token or _KUBECONFIG in raw
            self.rows.append(AdministratorFile(path, group, form, key, token))


def homes_of(passwd: str) -> Iterator[str]:
    """The home folders that passwd(5) names, without those that stand for none."""
    for line in passwd.split("\n"):
        fields = line.split(":")
        home = fields[5].rstrip("/") if len(fields) > 6 else ""
        if home.startswith("/") and not any(_inside(home, place) for place in _NO_HOMES):
            yield home


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")
