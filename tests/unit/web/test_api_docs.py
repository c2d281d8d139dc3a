"""The examples of docs/api.md run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.unit.web.conftest import TOKEN, Serving
from tests.unit.web.test_api import Cloud, NewAgent

PAGE = Path(__file__).parents[3] / "docs" / "api.md"


def test_examples(serving: Serving, new_agent: NewAgent) -> None:
    cloud = Cloud(serving, new_agent)
    cloud.onprem.running["web"] = "c-web"
    cloud.beat()
    script = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL))
    env = {"PATH": os.environ["PATH"], "API": serving.url, "TOKEN": TOKEN, "NO_PROXY": "*"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=env,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    told = done.stdout
    assert done.returncode == 0, told + done.stderr
    assert '"type":"/problems/not_found"' in told
    assert '"request_id":"ci-17"' in told
    assert 'rel="next"' in told
    lowered = told.lower()
    assert lowered.count("idempotent-replayed: true") == 1
    assert "preference-applied: wait=2" in lowered
    assert "304\n" in told
    assert "/problems/precondition_failed" in told
    active = serving.control.moves.active()
    assert set(active) == {"shop", "web"}
