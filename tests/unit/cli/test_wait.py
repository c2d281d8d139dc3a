"""`--wait`: a limit after which the move goes on without us; and the table of exit codes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from porter.cli.watch import TimeUp, within
from porter.client import exits
from tests.unit.cli.test_commands import ID, RECEIPT, Stub, event, moving, run, stub  # noqa: F401

PAGE = Path(__file__).parents[3] / "docs" / "ci.md"
MOVE = ("migrate", "shop", "--to", "cloud")


class Endless(httpx.SyncByteStream):
    """A stream that says one thing, and then nothing until it is let go."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        one = json.dumps(event(1, "step.started", step="sync"))
        yield f"id: 1\ndata: {one}\n\n".encode()
        self.over.wait(60)


@pytest.fixture
def endless(stub: Stub) -> Iterator[Endless]:  # noqa: F811
    found = Endless()
    stub.routes |= moving()
    stub.routes["GET", f"/v1/migrations/{ID}/events"] = httpx.Response(200, stream=found)
    stub.routes["GET", f"/v1/migrations/{ID}"] = {"id": ID, "workload": "shop", "state": "running"}
    yield found
    found.over.set()


@pytest.mark.parametrize("argv", [MOVE, ("migration", "watch", ID)])
@pytest.mark.parametrize("seconds", ["0", "0.05"])
def test_after_the_time_it_is_exit_3_and_the_move_goes_on(
    endless: Endless, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], seconds: str
) -> None:
    code, out, err = run(capsys, *argv, f"--wait={seconds}", "--json")
    assert code == 3
    assert json.loads(out)["state"] == "running"
    assert f"still under way after {seconds} s" in err
    assert f"porter migration watch {ID}" in err


def test_what_ended_at_the_last_moment_has_its_receipt(
    endless: Endless,
    stub: Stub,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    stub.routes["GET", f"/v1/migrations/{ID}"] = {"id": ID, "state": "succeeded"}
    code, out, _ = run(capsys, *MOVE, "--wait=0", "--json")
    assert (code, json.loads(out)) == (0, RECEIPT)


@pytest.mark.parametrize("wait", ["--wait", "--wait=60"])
def test_what_ends_in_time_is_as_without(
    stub: Stub,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    wait: str,
) -> None:
    stub.routes |= moving(event(1, "migration.succeeded"))
    code, out, _ = run(capsys, *MOVE, wait, "--json")
    assert (code, json.loads(out)) == (0, RECEIPT)


@pytest.mark.parametrize("words", [["--wait=x"], ["--wait=-1"], ["--wait=inf"], ["--wait=nan"]])
def test_what_is_no_time_is_exit_2(
    stub: Stub,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    assert run(capsys, *MOVE, *words)[0] == 2
    assert run(capsys, *MOVE, "--detach", "--wait=1")[0] == 2
    assert not stub.seen


def test_ctrl_c_and_errors_come_through_the_limit(
    stub: Stub,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    stub.routes |= moving()
    stub.routes["GET", f"/v1/migrations/{ID}/events"] = interrupt
    assert run(capsys, *MOVE, "--wait=60")[0] == 130
    del stub.routes["GET", f"/v1/migrations/{ID}/events"]
    assert run(capsys, *MOVE, "--wait=60")[0] == 2


def test_items_within_a_time() -> None:
    assert list(within(60, iter("abc"))) == ["a", "b", "c"]
    never = threading.Event()

    def slow() -> Iterator[str]:
        yield "a"
        never.wait(60)

    items = within(0.05, slow())
    assert next(items) == "a"
    with pytest.raises(TimeUp):
        next(items)
    never.set()


def test_the_table_of_exit_codes_is_the_code() -> None:
    rows = re.findall(r"^\| ([0-9]+) \| ", PAGE.read_text(), re.MULTILINE)
    assert tuple(map(int, rows)) == exits.CODES
