"""What an operator may set, and what a mistake there is told."""

from __future__ import annotations

from typing import Any

import pytest

from nodeward.collector import settings as config

GRANTS = [{"group": "east-ops", "role": "operator", "labels": {"cluster": "east"}}]


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"issuer": "http://id.example"}, "https"),
        ({"client_id": ""}, "client_id is missing"),
        ({"grants": []}, "grants"),
        ({"grants": [{"group": "x", "role": "king"}]}, "role of x"),
        ({"grants": [{"group": "x", "role": "viewer", "labels": {"a": 1}}]}, "labels of x"),
        ({"scope": "profile"}, "openid"),
        ({"session": "long"}, "span"),
        ({"secret_file": "/nowhere"}, "no file"),
        ({"isuer": "x"}, "no setting oidc.isuer"),
    ],
)
def test_a_wrong_provider_setting_is_named(over: dict[str, Any], said: str) -> None:
    given = {
        "issuer": "https://id.example",
        "client_id": "nodeward",
        "url": "https://collector.example:8443",
        "grants": GRANTS,
    }
    assert config.check({"oidc": given}, "x").oidc is not None
    with pytest.raises(config.SettingsError, match=said):
        config.check({"oidc": given | over}, "x")
