"""The clocks of this machine."""

from __future__ import annotations

import time

from nodeward.agent.spool import Moment


def moment() -> Moment:
    """Now, on the clock that may jump and on the one that may not."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return Moment(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), boot)
