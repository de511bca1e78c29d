"""What would help where nodeward could not look: one sentence by the kind of obstacle."""

from __future__ import annotations

import re

from nodeward.lazy import pattern
from nodeward.model.verdict import Remedy

# The obstacle as the host layer words it, and what removes it. The first that fits counts.
_HELP: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (pattern(words), text)
    for words, text in (
        (r"\bEACCES\b|\bEPERM\b",
         "Run nodeward as root, or give it CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE: this may only"
         " be read with more rights."),
        (r"hidden from us",
         "Run nodeward as root in the host's own pid namespace (a pod needs hostPID: true)."),
        (r"network namespace",
         "Run nodeward in the host's own network namespace (a pod needs hostNetwork: true)."),
        (r"\bneeds /proc\b|\bnot mounted\b",
         "Mount /proc where nodeward runs."),
        (r"version of this kubelet is not known",
         "Scan where the kubelet's program file or its package's record can be read: the version"
         " is told from them."),
        (r"\boffline\b",
         "A file tree cannot tell: scan the running host."),
        (r"not in this recording",
         "The recording was made by another version: record the host again."),
        (r"more than \d+ (?:bytes|entries)|nested too deeply|too large",
         "Look at what it is by hand: no real one is as large."),
        (r"took longer than",
         "Look for a hung mount or an overloaded host, and scan again."),
        (r"\bELOOP\b",
         "Mend the symbolic links: they lead round in a circle."),
        (r"\bEIO\b|\bESTALE\b|\bENOTCONN\b",
         "Check the disk or network mount: the kernel cannot read it."),
    )
)  # fmt: skip


def help_for(because: str) -> Remedy | None:
    """What would help, from the words of an `unknown` verdict; None where we know nothing."""
    return next((Remedy(text) for obstacle, text in _HELP if obstacle.search(because)), None)
