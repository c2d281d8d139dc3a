"""What agents see: pinning, joining, heartbeats, long polls, results."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from porter.db.base import NewCommand
from porter.protocol import codec
from porter.protocol.joining import FoundWorkload, Heartbeat, Network, Orders
from porter.protocol.messages import Failure, Progress, Result
from tests.saga.simulation import facts
from tests.unit.web.conftest import Agent, Serving

NewAgent = Callable[..., Agent]
PROBLEM = "application/problem+json"


def beat(name: str, *workloads: FoundWorkload) -> object:
    return codec.dump(Heartbeat(facts(name), workloads))


def test_the_token_pins_the_ca(serving: Serving, new_agent: NewAgent) -> None:
    answer = new_agent().http.get("/ca")
    certificate = x509.load_pem_x509_certificate(answer.text.encode())
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert serving.join_token().partition(".")[2] == hashlib.sha256(der).hexdigest()


def test_the_certificate_names_the_host_and_nothing_it_asked_for(new_agent: NewAgent) -> None:
    joined = new_agent().join().joined
    assert joined is not None
    certificate = x509.load_pem_x509_certificate(joined.certificate_pem.encode())
    (common,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert common.value == joined.host
    assert names.get_values_for_type(x509.DNSName) == [joined.host]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        f"porter:host:{joined.host}"
    ]
    assert set(usage) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


def refused(answer: httpx.Response, status: int, word: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    assert word in answer.json()["detail"]


def test_tokens_that_do_not_count(serving: Serving, new_agent: NewAgent) -> None:
    agent = new_agent()
    with serving.client() as api:
        expired = api.post("/v1/join-tokens", json={"ttl": 0}).json()["token"]
    refused(agent.ask_to_join(expired), 410, "expired")
    refused(agent.ask_to_join("nonsense"), 401, "another control plane")
    refused(agent.ask_to_join(f"x.{serving.authority.pin}"), 401, "never issued")
    token = serving.join_token()
    assert agent.ask_to_join(token).status_code == 201
    assert agent.ask_to_join(token).status_code == 201, "the first answer may have been lost"
    refused(new_agent("cloud").ask_to_join(token), 403, "has been used")
    assert {host.name for host in serving.control.registry.hosts()} == {"onprem"}


@pytest.mark.parametrize(
    "changes",
    [{"csr_pem": "nonsense"}, {"name": "../etc"}, {"name": ""}, {"site": "a b"}, {"facts": None}],
)
def test_a_bad_join_does_not_use_the_token_up(
    serving: Serving, new_agent: NewAgent, changes: dict[str, object]
) -> None:
    token, agent = serving.join_token(), new_agent()
    refused(agent.ask_to_join(token, **changes), 422, "cannot")
    assert agent.ask_to_join(token).status_code == 201


def test_everything_else_demands_a_certificate(new_agent: NewAgent) -> None:
    agent = new_agent()
    for answer in (
        agent.http.post("/heartbeat", json=beat("onprem")),
        agent.http.get("/commands?wait=0"),
        agent.http.post("/commands/x/result", json={"output": {}}),
    ):
        refused(answer, 403, "certificate")


def test_an_old_certificate_does_not_count(serving: Serving, new_agent: NewAgent) -> None:
    first = new_agent().join()
    second = new_agent().join()
    assert first.joined is not None
    assert second.joined is not None
    assert first.joined.host == second.joined.host
    refused(first.http.get("/commands?wait=0"), 403, "joined again")
    assert second.http.get("/commands?wait=0").status_code == 200
    with serving.client() as api:
        assert api.delete("/v1/hosts/onprem").status_code == 204
    refused(second.http.get("/commands?wait=0"), 403, "removed")


def test_a_heartbeat_is_answered_with_the_network(serving: Serving, new_agent: NewAgent) -> None:
    agent, other = new_agent().join(), new_agent("cloud").join()
    shop = FoundWorkload("shop", "c1", "shop", "running", "10.77.1.2", "redis", 5)
    answer = agent.http.post("/heartbeat", json=beat("onprem", shop))
    network = codec.load(Network, answer.json())
    assert network.range == "10.77.1.0/24"
    assert [route.prefix for route in network.routes] == ["10.77.2.0/24"]
    assert serving.control.found.workload("shop").host == agent.joined.host  # type: ignore[union-attr]
    assert other.joined is not None


def test_malformed_bodies(new_agent: NewAgent) -> None:
    agent = new_agent().join()
    for content in (b"", b"{", b"[]", b"{}", b'{"facts": 1}'):
        headers = {"Content-Type": "application/json"}
        answer = agent.http.post("/heartbeat", content=content, headers=headers)
        refused(answer, 422, "cannot read")


def poll(agent: Agent, wait: float, network: int, resume: int = 0) -> Orders:
    where = f"/commands?wait={wait}&network={network}&resume={resume}"
    return codec.load(Orders, agent.http.get(where).json())


def test_a_poll_answers_at_once_when_the_network_differs(new_agent: NewAgent) -> None:
    agent = new_agent().join()
    orders = poll(agent, 20, 0)
    assert orders.network is not None
    assert poll(agent, 0, orders.network.version) == Orders()


def test_a_poll_wakes_within_a_fraction_of_a_second(serving: Serving, new_agent: NewAgent) -> None:
    agent = new_agent().join()
    network = poll(agent, 0, 0).network
    assert network is not None
    assert agent.joined is not None
    answers: list[tuple[Orders, float]] = []

    def wait() -> None:
        answers.append((poll(agent, 20, network.version), time.monotonic()))

    thread = threading.Thread(target=wait)
    thread.start()
    # Written by another process, as far as the web process can tell.
    threading.Event().wait(0.3)
    written = time.monotonic()
    serving.control.desk.send(
        [NewCommand("dry-1.q", agent.joined.host, "preflight", "query", {"migration": "m"})],
        time.time(),
    )
    thread.join(20)
    ((orders, answered),) = answers
    assert [command.id for command in orders.commands] == ["dry-1.q"]
    assert answered - written < 1.0


def test_commands_come_again_to_a_restarted_agent_and_results_count_once(
    serving: Serving, new_agent: NewAgent
) -> None:
    agent, other = new_agent().join(), new_agent("cloud").join()
    assert agent.joined is not None
    command = NewCommand("dry-1.q", agent.joined.host, "preflight", "query", {})
    serving.control.desk.send([command], time.time())
    version = serving.control.desk.pulse()[2]
    assert len(poll(agent, 0, version).commands) == 1
    assert len(poll(agent, 0, version).commands) == 0
    assert len(poll(agent, 0, version, resume=1).commands) == 1
    news = codec.dump(Progress("dump", 1, 2))
    assert agent.http.post("/commands/dry-1.q/progress", json=news).status_code == 204
    good = codec.dump(Result(output={"n": 1}))
    bad = codec.dump(Result(error=Failure("permanent", "no")))
    refused(other.http.post("/commands/dry-1.q/result", json=good), 404, "cannot find")
    refused(agent.http.post("/commands/dry-1.q/result", json={}), 422, "exactly one")
    for result in (good, bad, good):
        assert agent.http.post("/commands/dry-1.q/result", json=result).status_code == 204
    (recorded,) = serving.control.desk.read("dry-1")
    assert recorded.result == good


def test_unknown_routes_are_problems_too(new_agent: NewAgent) -> None:
    agent = new_agent().join()
    refused(agent.http.get("/nothing"), 404, "no such resource")
    refused(agent.http.delete("/heartbeat"), 405, "does not know how")
