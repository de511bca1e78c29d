"""Read the addresses of the machine's own network namespace: that of its first process."""

from __future__ import annotations

from contextlib import suppress

from nodeward.facts.local_addresses import LocalAddresses, parse_fib_trie, parse_if_inet6
from nodeward.host import Host, MissingError
from nodeward.probes.registry import probe

TABLE_LIMIT = 32 << 20


@probe
def read_local_addresses(host: Host) -> LocalAddresses:
    rows = parse_fib_trie(host.read("/proc/1/net/fib_trie", limit=TABLE_LIMIT))
    with suppress(MissingError):  # IPv6 is off
        rows += parse_if_inet6(host.read("/proc/1/net/if_inet6"))
    return LocalAddresses(rows)
