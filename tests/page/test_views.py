"""Each view as the three users open it: no complaint of the browser, no policy broken."""

from __future__ import annotations

import pytest

from page_site import Eyes

VIEWS = {
    "fleet": "/",
    "nodes": "/nodes",
    "node": "/nodes/prod-eu/prod-eu-worker-0003",
    "hostile": "/nodes/prod-eu/prod-eu-worker-0000",
    "checks": "/checks",
    "check": "/checks/kernel.module.sctp",
    "heat": "/heat",
    "changes": "/changes?since=7d",
    "certificates": "/certificates",
    "waivers": "/waivers",
    "agents": "/agents",
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_opens_without_complaint(operator: Eyes, name: str) -> None:
    operator.go(VIEWS[name])
    assert operator.page.locator("h1").is_visible()
    operator.shot(name)
