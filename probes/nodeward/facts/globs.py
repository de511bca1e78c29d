"""Shell patterns as fnmatch(3) reads them with no flags, which is how kmod matches names."""

from __future__ import annotations

import re
from functools import lru_cache

WILD = frozenset("*?[")


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression. A set never holds "]": kmod refuses such names."""
    parts, i = [""], 0  # what stands between stars
    while i < len(pattern):
        char = pattern[i]
        i += 1
        if char == "*":
            parts.append("")
        elif char == "?":
            parts[-1] += "."
        elif char == "\\" and i < len(pattern):
            parts[-1] += re.escape(pattern[i])
            i += 1
        elif char == "[" and (end := pattern.find("]", i + 1)) > 0:
            parts[-1] += _set(pattern[i:end])
            i = end + 1
        else:
            parts[-1] += re.escape(char)
    return re.compile(_joined(parts), re.DOTALL)


def _joined(parts: list[str]) -> str:
    """What stands between two stars is taken where it comes first, for good: nothing is gained by
    looking further, and a pattern of many stars would take for ever."""
    if len(parts) == 1:
        return parts[0]
    inner = "".join(f"(?>.*?{part})" for part in parts[1:-1] if part)
    return f"{parts[0]}{inner}.*{parts[-1]}"


def _set(inside: str) -> str:
    negated = inside[0] in "!^"
    body = inside[1:] if negated else inside
    ranges = []
    i = 0
    while i < len(body):
        if body[i + 1 : i + 2] == "-" and i + 2 < len(body):
            if body[i] <= body[i + 2]:
                ranges.append(f"{re.escape(body[i])}-{re.escape(body[i + 2])}")
            i += 3
        else:
            ranges.append(re.escape(body[i]))
            i += 1
    if not ranges:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{''.join(ranges)}]"


def matches(pattern: str, name: str) -> bool:
    """fnmatch(pattern, name, 0) == 0."""
    if WILD.isdisjoint(pattern) and "\\" not in pattern:
        return pattern == name
    if "[" not in pattern and "\\" not in pattern:
        if "?" not in pattern:
            return _starred(pattern, name)
        if len(pattern) - pattern.count("*") > len(name):
            return False
    return compiled(pattern).fullmatch(name) is not None


def _starred(pattern: str, name: str) -> bool:
    """The same for a pattern of stars and nothing else: indexes are full of these, and to compile
    one costs more than to look. What stands between two stars is taken where it comes first."""
    first, *inner, last = pattern.split("*")
    if not name.startswith(first):
        return False
    at = len(first)
    for part in inner:
        at = name.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return len(name) - at >= len(last) and name.endswith(last)
