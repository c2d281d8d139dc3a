from __future__ import annotations

from pathlib import Path

import pytest

from porter.domain.errors import Invalid
from porter.settings import load, split_address


def test_defaults() -> None:
    settings = load({})
    assert settings.state == Path("/var/lib/porter")
    assert settings.database_url == "sqlite:////var/lib/porter/porter.sqlite3"
    assert settings.broker_url == "filesystem://"
    assert settings.listen == "127.0.0.1:8460"
    assert settings.agents == "0.0.0.0:8461"
    assert settings.dashboard == "http://127.0.0.1:8460/"
    assert settings.api_token_file == Path("/var/lib/porter/api-token")


def test_children_read_the_same_settings() -> None:
    settings = load(
        {
            "PORTER_STATE": "/tmp/x",
            "PORTER_BROKER_URL": "redis://r/0",
            "PORTER_LISTEN": "0.0.0.0:80",
            "PORTER_AGENT_NAMES": "a.example, 10.0.0.1",
            "PORTER_ALLOWED_HOSTS": "porter.example",
            "PORTER_LEASE": "3.5",
            "PORTER_WEBHOOK_ALLOW": "10.0.0.0/8, hooks.internal",
        }
    )
    assert load(settings.environment()) == settings
    assert settings.agent_names == ("a.example", "10.0.0.1")
    assert settings.webhook_allow == ("10.0.0.0/8", "hooks.internal")
    assert settings.dashboard == "http://127.0.0.1:80/"


@pytest.mark.parametrize("address", ["", "8460", "host:", ":1", "host:x", "host:70000"])
def test_bad_addresses(address: str) -> None:
    with pytest.raises(Invalid, match="HOST:PORT"):
        split_address(address)
    if address:
        with pytest.raises(Invalid):
            load({"PORTER_LISTEN": address})


def test_a_bad_lease() -> None:
    with pytest.raises(Invalid, match="PORTER_LEASE"):
        load({"PORTER_LEASE": "soon"})


def test_ipv6() -> None:
    assert split_address("[::1]:8460") == ("::1", 8460)
