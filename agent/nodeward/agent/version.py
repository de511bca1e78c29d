"""Which nodeward this is."""

from __future__ import annotations


def version() -> str:
    """The installed version; "0" in a bare checkout."""
    from importlib import metadata  # slow to import, and most callers never ask

    try:
        return metadata.version("nodeward")
    except metadata.PackageNotFoundError:
        return "0"
