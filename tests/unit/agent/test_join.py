"""Joining: the token pins the CA, the key stays here, errors are one sentence."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from porter.agent import join as joining
from porter.agent.facts import Facts
from porter.cli.agent import agent
from porter.domain.errors import Denied, Invalid, PorterError, Transient
from porter.domain.host import HostFacts
from tests.unit.agent.ca import Authority
from tests.unit.agent.control_plane import FakeControlPlane
from tests.unit.agent.fakes import FakeHost, Power, World, parts_of


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControlPlane]:
    made = FakeControlPlane(Authority(tmp_path / "ca"))
    yield made
    made.close()


@pytest.fixture
def facts(tmp_path: Path) -> HostFacts:
    parts = parts_of(FakeHost(World(), "h", tmp_path), Power())
    return Facts(parts, "10.0.0.1", lambda: 7443).gather()


def test_joins_and_keeps_its_key(
    control: FakeControlPlane, facts: HostFacts, tmp_path: Path
) -> None:
    identity = joining.join(control.url, control.token, "web1", "onprem", facts, tmp_path)
    assert identity.host == "h-new"
    key = tmp_path / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert joining.load(tmp_path) == identity
    before = key.read_bytes()
    joining.join(control.url, control.token, "web1", "onprem", facts, tmp_path)
    assert key.read_bytes() == before


def test_another_control_plane_is_not_believed(
    control: FakeControlPlane, facts: HostFacts, tmp_path: Path
) -> None:
    token = f"s3cret.{'0' * 64}"
    with pytest.raises(Denied, match="is not the control plane that made the token"):
        joining.join(control.url, token, "web1", "onprem", facts, tmp_path)
    assert not (tmp_path / "key.pem").exists()
    assert control.heartbeats == []


@pytest.mark.parametrize("token", ["", "abc", "abc.def", f".{'0' * 64}"])
def test_a_malformed_token(facts: HostFacts, tmp_path: Path, token: str) -> None:
    with pytest.raises(Invalid, match="malformed"):
        joining.join("https://127.0.0.1:1", token, "web1", "onprem", facts, tmp_path)


def test_nobody_answers(facts: HostFacts, tmp_path: Path) -> None:
    with pytest.raises(Transient, match="cannot reach the control plane"):
        joining.join("https://127.0.0.1:1", f"a.{'0' * 64}", "web1", "onprem", facts, tmp_path)


def test_an_expired_token_ends_the_command_with_one_sentence(
    control: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.problem = (410, "cannot join: the token expired an hour ago")
    parts = parts_of(FakeHost(World(), "h", tmp_path), Power())
    monkeypatch.setattr("porter.wiring_agent.agent_parts", lambda *_: parts)
    monkeypatch.setattr("porter.logs.to_stderr", lambda *_: None)
    words = ["--join", control.url, "--token", control.token, "--state", str(tmp_path / "s")]
    result = CliRunner().invoke(agent, words)
    assert result.exit_code == 2
    sentence = "cannot join: the token expired an hour ago; make a new token"
    assert result.stderr == f"porter agent: {sentence}\n"


def test_a_first_start_without_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = parts_of(FakeHost(World(), "h", tmp_path), Power())
    monkeypatch.setattr("porter.wiring_agent.agent_parts", lambda *_: parts)
    monkeypatch.setattr("porter.logs.to_stderr", lambda *_: None)
    result = CliRunner().invoke(agent, ["--state", str(tmp_path / "s")])
    assert result.exit_code == 2
    assert "has not joined" in result.stderr
    assert isinstance(result.exception, SystemExit | PorterError)
