"""A writer of depmod's `.bin` indexes, for trees whose modules do not exist."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAGIC, VERSION = 0xB007F457, 0x00020001
PREFIX, VALUES, CHILDREN = 0x80000000, 0x40000000, 0x20000000


@dataclass
class _Node:
    values: list[tuple[int, str]] = field(default_factory=list)
    children: dict[int, _Node] = field(default_factory=dict)


def trie(rows: Iterable[tuple[str, str]]) -> bytes:
    """(key, value) rows; an earlier row has the lower priority number, as depmod gives them."""
    root = _Node()
    for priority, (key, value) in enumerate(rows):
        node = root
        for byte in key.encode("latin-1"):
            node = node.children.setdefault(byte, _Node())
        node.values.append((priority, value))
    out = bytearray(struct.pack(">III", MAGIC, VERSION, 0))
    struct.pack_into(">I", out, 8, _write(root, out))
    return bytes(out)


def _write(node: _Node, out: bytearray) -> int:
    """Children first; a node with one child and no value lends it its character."""
    prefix = b""
    while len(node.children) == 1 and not node.values:
        ((byte, node),) = node.children.items()
        prefix += bytes([byte])
    places = {byte: _write(child, out) for byte, child in node.children.items()}
    reference = len(out)
    if prefix:
        reference |= PREFIX
        out += prefix + b"\0"
    if places:
        reference |= CHILDREN
        first, last = min(places), max(places)
        out += bytes([first, last])
        for byte in range(first, last + 1):
            out += struct.pack(">I", places.get(byte, 0))
    if node.values:
        reference |= VALUES
        out += struct.pack(">I", len(node.values))
        for priority, value in node.values:
            out += struct.pack(">I", priority) + value.encode("latin-1") + b"\0"
    return reference


@dataclass(frozen=True)
class Modules:
    """A made-up kernel: paths with their dependencies, aliases, and what is built in."""

    dep: Mapping[str, tuple[str, ...]]  # path -> paths, all of them, nearest first
    alias: tuple[tuple[str, str], ...] = ()
    builtin: tuple[str, ...] = ()  # paths
    builtin_alias: tuple[tuple[str, str], ...] = ()
    softdep: str = ""

    def write(self, folder: Path, *, binary: bool = True, text: bool = True) -> None:
        """depmod's files into /lib/modules/RELEASE."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "modules.softdep").write_text(self.softdep)
        for path in self.dep:  # kmod drops all dependencies when the file of one is not there
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
        lines = {path: f"{path}: {' '.join(needs)}".rstrip() for path, needs in self.dep.items()}
        if binary:
            dep = [(_name(path), line) for path, line in lines.items()]
            self._bin(folder, "dep", dep)
            self._bin(folder, "alias", [(_under(a), m) for a, m in self.alias])
            self._bin(folder, "builtin", [(_name(path), "") for path in self.builtin])
            self._bin(folder, "builtin.alias", [(_under(a), m) for a, m in self.builtin_alias])
            self._bin(folder, "symbols", [])
        if text:
            alias = "".join(f"alias {a} {m}\n" for a, m in self.alias)
            (folder / "modules.dep").write_text("".join(f"{x}\n" for x in lines.values()))
            (folder / "modules.alias").write_text("# Aliases\n" + alias)
            (folder / "modules.builtin").write_text("".join(f"{p}\n" for p in self.builtin))
            info = "".join(f"{m}.alias={a}\0" for a, m in self.builtin_alias)
            (folder / "modules.builtin.modinfo").write_text(info)

    @staticmethod
    def _bin(folder: Path, name: str, rows: Iterable[tuple[str, str]]) -> None:
        (folder / f"modules.{name}.bin").write_bytes(trie(rows))


def _name(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0].replace("-", "_")


def _under(alias: str) -> str:
    """ "-" as "_" outside of brackets, as depmod writes keys."""
    out, inside = "", False
    for char in alias:
        inside = char == "[" or (inside and char != "]")
        out += "_" if char == "-" and not inside else char
    return out
