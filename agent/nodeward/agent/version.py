"""Which nodeward this is."""

from __future__ import annotations

import contextlib
import os
import sys


def version() -> str:
    """The installed version; "0" in a bare checkout.

    From the name of the folder that every installer leaves (PEP 376, nodeward-1.2.3.dist-info):
    importlib.metadata takes a tenth of a look to import and finds the same.
    """
    for folder in sys.path:
        with contextlib.suppress(OSError):
            for name in os.listdir(folder or "."):
                if name.startswith("nodeward-") and name.endswith(".dist-info"):
                    return name[len("nodeward-") : -len(".dist-info")]
    return "0"
