"""Read what each boot loads by name: modules-load.d."""

from __future__ import annotations

from nodeward.facts.modprobe_conf import Entry
from nodeward.facts.next_boot import Listed, ModulesLoad, parse_list
from nodeward.host import Host
from nodeward.probes.modprobe_d import entries_in
from nodeward.probes.registry import probe

# What is in /run is gone by the next boot.
DIRS = (
    "/etc/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
    "/lib/modules-load.d",
)


@probe
def read_modules_load(host: Host) -> ModulesLoad:
    chosen: dict[str, Entry] = {}
    for folder in DIRS:
        for entry in entries_in(host, folder):
            if entry.folder == folder and entry.name.endswith(".conf"):
                chosen.setdefault(entry.name, entry)
    listed: list[Listed] = []
    unread = []
    for _, entry in sorted(chosen.items()):
        if entry.data is not None:
            listed += parse_list(entry.data, entry.path)
        elif entry.error:
            unread.append((entry.path.removesuffix("/?.conf"), entry.error))
    return ModulesLoad(tuple(listed), tuple(unread))
