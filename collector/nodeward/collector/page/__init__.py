"""The page: posture at a glance, evidence in two clicks. Rendered here, on the server.

Each view is one address that can be shared; `?format=json` and `?format=csv` give its data.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from nodeward.collector.page import (
    agents,
    certificates,
    changes,
    checks,
    door,
    enrol,
    find,
    findings,
    fleet,
    nodes,
    oidc,
    sql,
    waivers,
)

STATIC: Final = str(resources.files(__package__) / "static")

ROUTES: Final[tuple[BaseRoute, ...]] = (
    *fleet.ROUTES,
    *checks.ROUTES,
    *nodes.ROUTES,
    *changes.ROUTES,
    *certificates.ROUTES,
    *waivers.ROUTES,
    *agents.ROUTES,
    *enrol.ROUTES,
    *sql.ROUTES,
    *find.ROUTES,
    *findings.ROUTES,
    *door.ROUTES,
    *oidc.ROUTES,
    Mount("/static", StaticFiles(directory=STATIC), name="static"),
)
