"""Read the addresses of the machine's own network namespace: that of its first process."""

from __future__ import annotations

from contextlib import suppress

from nodeward.facts.local_addresses import LocalAddresses, parse_fib_trie, parse_if_inet6
from nodeward.host import Host, MissingError
from nodeward.probes.registry import probe

TABLE_LIMIT = 32 << 20


@probe
def read_local_addresses(host: Host) -> LocalAddresses:
    return LocalAddresses(addresses_of(host, 1))


def addresses_of(host: Host, pid: int) -> tuple[str, ...]:
    """The addresses of the network namespace that a process lives in."""
    rows = parse_fib_trie(host.read(f"/proc/{pid}/net/fib_trie", limit=TABLE_LIMIT))
    with suppress(MissingError):  # IPv6 is off
        rows += parse_if_inet6(host.read(f"/proc/{pid}/net/if_inet6"))
    return rows
