"""Read what the agent of this host last said of itself. The agent gives its own checks the fact
directly; this is for everyone else who scans the host."""

from __future__ import annotations

from nodeward.facts.agent import Agent, parse_agent
from nodeward.host import Host, MissingError
from nodeward.probes.registry import probe

STATUS_FILE = "/run/nodeward/agent.json"


@probe
def read_agent(host: Host) -> Agent:
    try:
        return parse_agent(host.read(STATUS_FILE))
    except MissingError:
        raise MissingError("a running nodeward agent", STATUS_FILE) from None
