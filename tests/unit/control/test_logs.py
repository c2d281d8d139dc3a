"""Log lines say what they are about; one request's id is in all that follows from it."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from porter import logs
from porter.logs import about, current_request
from porter.settings import load
from porter.wiring import REQUEST, control_plane


class Lines:
    """What would go to stderr, as JSON."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        self.handler = logging.StreamHandler(self.text)
        self.handler.setFormatter(logs.JsonLines())
        self.handler.addFilter(logs.here)

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.getvalue().splitlines()]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    monkeypatch.setattr(logs, "_always", {})
    root, found = logging.getLogger(), Lines()
    porter = logging.getLogger("porter")
    before = porter.level
    root.addHandler(found.handler)
    porter.setLevel(logging.INFO)
    yield found
    porter.setLevel(before)
    root.removeHandler(found.handler)


log = logging.getLogger("porter.anything")


def test_lines_carry_what_they_are_about(lines: Lines) -> None:
    log.info("before %s", 1)
    with about(request="r1", migration="m1", host=""):
        with about(step="sync", request=None):
            log.warning("inside", extra={"more": 2, "workload": "shop"})
            thread = threading.Thread(target=log.info, args=("elsewhere",))
            thread.start()
            thread.join()
        log.info("still")
    log.info("after")
    before, inside, elsewhere, still, after = lines.all()
    assert list(before) == ["time", "level", "logger", "message"]
    assert before["message"] == "before 1"
    assert before["time"].endswith("Z")
    assert inside | {"time": ""} == {
        "time": "",
        "level": "warning",
        "logger": "porter.anything",
        "message": "inside",
        "request": "r1",
        "migration": "m1",
        "step": "sync",
        "workload": "shop",
        "more": 2,
    }
    assert "migration" not in elsewhere
    assert (still["migration"], "step" in still) == ("m1", False)
    assert "request" not in after
    assert current_request.get() == ""


def test_exceptions_stay_on_one_line(lines: Lines) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("broken")
    (line,) = lines.all()
    assert "ValueError: two\nlines" in line["exc_info"]


def test_the_two_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    try:
        for style in ("text", "json"):
            logs.to_stderr(style)
            log.info("hello")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    text, line = told.getvalue().splitlines()
    assert text.endswith("INFO porter.anything: hello")
    assert json.loads(line)["message"] == "hello"


def test_messages_carry_the_request(tmp_path: Path) -> None:
    control = control_plane(load({"PORTER_STATE": str(tmp_path)}))
    with about(request="r1"):
        control.queue.enqueue("m1")
    control.close()
    (message,) = control.settings.queue.glob("messages/*.msg")
    assert json.loads(message.read_text())["headers"][REQUEST] == "r1"
