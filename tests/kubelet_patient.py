"""`nodeward scan` with ten times the time for each port: a busy machine is no silent kubelet.

Run by kubelet_host.py, for tests that are about what is said and not about when.
"""

from __future__ import annotations

import sys

from nodeward.cli.main import main
from nodeward.probes import kubelet_answers

PATIENCE = 10

if __name__ == "__main__":
    for name in ("TOKEN_S", "SECURE_S", "READ_ONLY_S", "ALL_EXTRA_S"):
        setattr(kubelet_answers, name, getattr(kubelet_answers, name) * PATIENCE)
    sys.argv[1:1] = ["scan"]
    main()
