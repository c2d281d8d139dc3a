"""`porter webhook` against a real API, with workers that send to nowhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from porter.domain.webhook import Outcome
from porter.webhooks.courier import Courier
from tests.unit.cli.test_people import Run, run, serving  # noqa: F401
from tests.unit.web.conftest import Serving

URL = "https://203.0.114.7/porter"


class Worker:
    """Sends whatever is due, all the time; `outcome` is what receivers answer."""

    def __init__(self, serving: Serving) -> None:  # noqa: F811
        self.outcome = Outcome(204)
        control = serving.control
        self.courier = Courier(
            control.deliveries,
            control.vault,
            lambda: time.time() + 10,
            lambda hook: self.courier.deliver(hook),
            lambda url, headers, body: self.outcome,
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._over.wait(0.02):
            self.courier.sweep()

    def end(self) -> None:
        self._over.set()
        self._thread.join(20)


@pytest.fixture
def worker(serving: Serving) -> Iterator[Worker]:  # noqa: F811
    one = Worker(serving)
    yield one
    one.end()


def test_a_webhook_from_beginning_to_end(run: Run, worker: Worker) -> None:  # noqa: F811
    code, made = run("webhook", "add", URL, "--project", "shop", "--types", "migration.,proposal.")
    assert code == 0
    assert made["secret"].startswith("whsec_")
    assert made["types"] == ["migration.", "proposal."]
    hook = made["id"]
    _, table = run("webhook", "ls", as_json=False)
    assert hook in table
    assert "good" in table
    assert "whsec_" not in table
    _, picture = run("webhook", "show", hook, as_json=False)
    assert URL in picture
    assert "migration., proposal." in picture

    code, out = run("webhook", "test", hook, as_json=False)
    assert (code, out) == (0, "delivered\n")
    _, log = run("webhook", "deliveries", hook)
    assert [(one["type"], one["state"]) for one in log] == [("io.porter.webhook.test", "delivered")]
    _, table = run("webhook", "deliveries", hook, "--state", "failed", as_json=False)
    assert "Nothing was sent yet." in table
    event = str(log[0]["event"])
    assert run("webhook", "replay", hook, "--event", event)[1] == {"events": 1}
    _, out = run("webhook", "replay", hook, as_json=False)
    assert out == "0 events will be sent again\n"
    assert run("webhook", "replay", hook, "--since", "2020-01-01T00:00:00Z")[1] == {"events": 0}

    _, turned = run("webhook", "rotate", hook)
    assert turned["secret"] != made["secret"]
    _, out = run("webhook", "rotate", hook, "--now", as_json=False)
    assert out.startswith("whsec_")
    assert run("webhook", "disable", hook)[0] == 0
    assert "disabled: root did so" in run("webhook", "ls", as_json=False)[1]
    assert run("webhook", "test", hook)[0] == 2
    assert run("webhook", "enable", hook)[1]["disabled_at"] is None
    assert run("webhook", "rm", hook)[0] == 0
    assert run("webhook", "show", hook)[0] == 2
    assert run("webhook", "ls") == (0, [])


def test_a_test_that_fails_says_why(run: Run, worker: Worker) -> None:  # noqa: F811
    worker.outcome = Outcome(500, "answered 500 Internal Server Error")
    hook = run("webhook", "add", URL)[1]["id"]
    code, out = run("webhook", "test", hook, as_json=False)
    assert (code, out) == (1, "not delivered: answered 500 Internal Server Error\n")
    assert "failing since" in run("webhook", "ls", as_json=False)[1]


def test_wrong_requests(run: Run) -> None:  # noqa: F811
    code, out = run("webhook", "add", "https://127.0.0.1/")
    assert code == 2
    assert "cannot send webhooks to 127.0.0.1: it is this machine itself" in out
    assert run("webhook", "add", URL, "--types", "no such")[0] == 2
    assert run("webhook", "replay", "wh1", "--event", "1", "--since", "x")[0] == 2
    assert run("webhook", "replay", "wh1", "--event", "0")[0] == 2
    assert run("webhook", "deliveries", "wh1", "--state", "lost")[0] == 2
