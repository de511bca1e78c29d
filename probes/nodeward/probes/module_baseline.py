"""Read what the agent of this host keeps of the modules that were loaded when it first looked. It
gives its own checks the fact directly; this is for everyone else who scans the host."""

from __future__ import annotations

from nodeward.facts.module_baseline import ModuleBaseline, parse_baseline
from nodeward.host import Host, MissingError
from nodeward.probes.registry import probe

BASELINE_FILE = "/var/lib/nodeward/modules.json"
BOOT_ID = "/proc/sys/kernel/random/boot_id"


@probe
def read_module_baseline(host: Host) -> ModuleBaseline:
    what = "an agent's list of the modules of this boot"
    try:
        found = parse_baseline(host.read(BASELINE_FILE))
        boot = host.read(BOOT_ID).decode("ascii", "replace").strip()
    except MissingError:
        raise MissingError(what, BASELINE_FILE) from None
    if found.boot != boot:
        raise MissingError(what, BASELINE_FILE)
    return found
