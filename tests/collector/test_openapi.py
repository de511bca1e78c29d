"""The API's description: of all routes, and true of what they take."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from starlette.routing import Route

from nodeward.collector.api.agents import CALLS
from nodeward.collector.app import API

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_it_describes_every_route_and_no_other(collector: Any) -> None:
    told = collector.http.get(collector.url + "/v1/openapi.json", timeout=30).json()
    there = {
        (route.path, method.lower())
        for route in API
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    } | {(path, "post") for path in CALLS}
    described = {(path, method) for path, of in told["paths"].items() for method in of}
    assert described == there
    ids = [op["operationId"] for of in told["paths"].values() for op in of.values()]
    assert len(ids) == len(set(ids))


def test_a_report_that_is_taken_fits_the_described_schema(collector: Any) -> None:
    told = collector.http.get(collector.url + "/v1/openapi.json", timeout=30).json()
    operation = told["paths"]["/v1/reports"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    root = {"components": told["components"], **schema}
    agent = collector.agent("n1")
    finding = {"check": "a.x", "status": "fail", "severity": "high", "because": "seen"}
    body = agent.body("full", [finding])
    jsonschema.validate(body, root)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body | {"seq": -1}, root)
