"""The clocks of this machine."""

from __future__ import annotations

import os
import time

from nodeward.agent.spool import Moment


def moment() -> Moment:
    """Now, on the clock that may jump and on the one that may not. A boot whose name is hidden is
    not taken for another one."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        boot = f"unnamed {os.urandom(8).hex()}"
    return Moment(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), boot)
