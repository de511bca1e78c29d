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
from nodeward.collector.api import act_access, act_alerts, act_nodes, act_waivers, agents, people
from nodeward.collector.api.answer import answer
from nodeward.collector.api.shapes import ANSWERS, TEXTS
from nodeward.collector.export import FORMS
from nodeward.collector.store.asked import MOST
from nodeward.collector.store.lifecycle import KEY_STATES
from nodeward.collector.store.shared import READINGS
from nodeward.collector.store.waivers import STATES
from nodeward.model import Severity, Status

BODIES: Final[Mapping[str, type]] = {
    "/v1/enroll": wire.EnrollIn,
    "/v1/rotate": wire.RotateIn,
    "/v1/reports": wire.ReportIn,
    "/v1/heartbeat": wire.HeartbeatIn,
    "/v1/tokens": act_access.TokenIn,
    "/v1/access": act_access.AccessIn,
    "/v1/alerts": act_alerts.AlertIn,
    "/v1/waivers": act_waivers.WaiverIn,
    "/v1/look": act_nodes.LookIn,
    "/v1/query": people.QueryIn,
}
_SPAN: Final = {"type": "string", "pattern": "^[0-9]{1,4}[smhd]$"}
_MOMENT: Final = {"anyOf": [{"type": "string", "format": "date-time"}, _SPAN]}
_TEXT: Final = {"type": "string", "pattern": f"^{people.VALUE.pattern}$"}


def _several(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "array", "items": item, "maxItems": people.MOST_VALUES}


def _word(*words: str) -> Mapping[str, Any]:
    return {"type": "string", "enum": list(words)}


PARAMETERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "status": _several(_word(*(s.value for s in Status))),
    "severity": _several(_word(*(s.value for s in Severity))),
    "check": _several(_TEXT),
    "cluster": _TEXT,
    "node": _TEXT,
    "label": _several({"type": "string", "pattern": r"^[a-z0-9./-]{1,99}=[ -~]{0,99}$"}),
    "since": _MOMENT,
    "until": _MOMENT,
    "at": _MOMENT,
    "seen": _word("current", "stale", "retired", "skewed"),
    "state": _word(*STATES),
    "waived": _word("true", "false"),
    "reading": _word(*READINGS, "all"),
    "role": _TEXT,
    "format": _word("json", *FORMS),
    "sort": _word("name", "score"),
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST},
    "cursor": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,512}$"},
}
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
    told = [kind for of in ANSWERS.values() for kind in of.values()]
    kinds = list(dict.fromkeys([*BODIES.values(), *told]))
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
        "responses": _responses(method, path, of_kind),
    }
    if path.startswith("/v1/") and path not in ("/v1/openapi.json", "/v1/enroll"):
        out["security"] = [{scheme: []}]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{([a-z]+)\}", path)
    ]
    if method == "GET":
        parameters += [
            {"name": name, "in": "query", "schema": _parameter(path, name)}
            for name in sorted(people.FILTERS.get(path, ()))
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


def _parameter(path: str, name: str) -> Mapping[str, Any]:
    of_keys = name == "state" and path == "/v1/agents"
    return _word(*KEY_STATES) if of_keys else PARAMETERS[name]


def _responses(method: str, path: str, of_kind: Mapping[Any, Any]) -> Mapping[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    out: dict[str, Any] = {"default": {"description": "refused", "content": error}}
    for status, kind in ANSWERS.get((method, path), {}).items():
        content: dict[str, Any] = {"application/json": {"schema": of_kind[kind]}}
        if path == "/v1/findings":
            content |= {kind.partition(";")[0]: {} for _, kind in FORMS.values()}
        out[str(status)] = {"description": "done", "content": content}
    if path in TEXTS:
        out["200"] = {"description": "done", "content": {TEXTS[path]: {}}}
    return out


async def openapi(request: Request) -> Response:
    """This document."""
    return answer(document(request.app.routes))


ROUTES: Final = [Route("/v1/openapi.json", openapi, methods=["GET"])]
