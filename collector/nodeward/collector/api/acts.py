"""All that operators and admins do."""

from __future__ import annotations

from typing import Final

from nodeward.collector.api import act_access, act_alerts, act_nodes, act_waivers

ROUTES: Final = [
    *act_nodes.ROUTES,
    *act_access.ROUTES,
    *act_waivers.ROUTES,
    *act_alerts.ROUTES,
]
