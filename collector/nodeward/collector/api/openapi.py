"""/v1/openapi.json, made from the routes and types themselves, so that it cannot say otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from nodeward.collector import wire
from nodeward.collector.api import acts, agents, people
from nodeward.collector.api.answer import answer

BODIES: Final[Mapping[str, type]] = {
    "/v1/enroll": wire.EnrollIn,
    "/v1/rotate": wire.RotateIn,
    "/v1/reports": wire.ReportIn,
    "/v1/heartbeat": wire.HeartbeatIn,
    "/v1/tokens": acts.TokenIn,
    "/v1/access": acts.AccessIn,
    "/v1/alerts": acts.AlertIn,
    "/v1/waivers": acts.WaiverIn,
    "/v1/look": acts.LookIn,
    "/v1/query": people.QueryIn,
}
LISTS: Final = frozenset(
    ("nodes", "findings", "changes", "checks", "clusters", "platforms", "divergence", "agents",
     "shared-keys", "waivers", "events", "audit")
)  # fmt: skip
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "field"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "field": {"type": ["string", "null"]},
            },
        }
    },
}


def document(routes: Iterable[BaseRoute]) -> Mapping[str, Any]:
    """OpenAPI 3.1 of these routes and of the agents' calls."""
    kinds = sorted(set(BODIES.values()), key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    of_kind = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for path in agents.CALLS:
        paths[path] = {"post": _operation(path, "POST", agents.CALLS[path], of_kind, "agent")}
    for route in routes:
        if isinstance(route, Route) and route.path.startswith(("/v1/", "/livez", "/readyz", "/m")):
            for method in sorted((route.methods or set()) - {"HEAD"}):
                operation = _operation(route.path, method, route.endpoint, of_kind, "token")
                paths.setdefault(route.path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "nodeward collector", "version": "1"},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "agent": {"type": "apiKey", "in": "header", "name": "Nodeward-Signature"},
            },
        },
    }


def _operation(
    path: str, method: str, endpoint: object, of_kind: Mapping[type, Any], scheme: str
) -> Mapping[str, Any]:
    doc = (endpoint.__doc__ or "").strip().splitlines()
    out: dict[str, Any] = {
        "operationId": f"{method.lower()}{re.sub('[^a-z]+', '-', path)}".strip("-"),
        "summary": doc[0] if doc else path,
        "responses": {
            "2XX": {"description": "done"},
            "default": {
                "description": "refused",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if path.startswith("/v1/") and path not in ("/v1/openapi.json", "/v1/enroll"):
        out["security"] = [{scheme: []}]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{([a-z]+)\}", path)
    ]
    if method == "GET" and (path.removeprefix("/v1/") in LISTS or path.endswith("/diff")):
        parameters += [
            {"name": name, "in": "query", "schema": {"type": "string"}}
            for name in sorted(people.KNOWN)
        ]
    if parameters:
        out["parameters"] = parameters
    if method == "POST" and path in BODIES:
        schema = of_kind[BODIES[path]]
        out["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return out


async def openapi(request: Request) -> Response:
    """This document."""
    return answer(document(request.app.routes))


ROUTES: Final = [Route("/v1/openapi.json", openapi, methods=["GET"])]
