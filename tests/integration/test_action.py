"""The action's own shell steps, run as a runner does, against a served API and simulated hosts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.web.conftest import TOKEN, Serving, new_agent, serving  # noqa: F401
from tests.unit.web.test_api import Cloud, cloud  # noqa: F401

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "actions" / "migrate"
ACTION = yaml.safe_load((FOLDER / "action.yml").read_text())
WORKFLOW = yaml.safe_load((ROOT / "docs" / "ci" / "migrate.yml").read_text())


@dataclass
class Ran:
    code: int
    out: str
    err: str
    outputs: dict[str, str]
    summary: str


class Runner:
    """What GitHub's runner does for a composite action: inputs, environment, files."""

    def __init__(self, url: str, folder: Path, token: str = TOKEN) -> None:
        self.folder = folder
        self.given = {"url": url, "token": token, "python": sys.executable}

    def start(self, **inputs: str) -> subprocess.Popen[str]:
        (step,) = ACTION["runs"]["steps"]
        known = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
        known |= self.given | inputs
        assert set(known) == set(ACTION["inputs"])
        env = {
            "PATH": os.environ["PATH"],
            "RUNNER_TEMP": str(self.folder),
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(self.folder / "output"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
        }
        env |= {name: self._filled(text, known) for name, text in step["env"].items()}
        (self.folder / "step.sh").write_text(step["run"])
        return subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(self.folder / "step.sh")],
            env=env,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self, process: subprocess.Popen[str]) -> Ran:
        out, err = process.communicate(timeout=60)
        files = {name: self.folder / name for name in ("output", "summary")}
        told = {name: file.read_text() if file.exists() else "" for name, file in files.items()}
        outputs = dict(line.split("=", 1) for line in told["output"].splitlines())
        return Ran(process.returncode, out, err, outputs, told["summary"])

    def run(self, **inputs: str) -> Ran:
        return self.ended(self.start(**inputs))

    @staticmethod
    def _filled(text: str, inputs: dict[str, str]) -> str:
        text = text.replace("${{ github.action_path }}", str(FOLDER))
        return re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: inputs[found[1]], text)


@pytest.fixture
def runner(serving: Serving, tmp_path: Path) -> Runner:  # noqa: F811
    folder = tmp_path / "runner"
    folder.mkdir()
    return Runner(serving.url, folder)


def worked(cloud: Cloud, process: subprocess.Popen[str]) -> None:  # noqa: F811
    """The hosts and the engine work until the step is over."""
    cloud.work_until(lambda: process.poll() is not None)


def document(ran: Ran) -> Any:
    mask, _, rest = ran.out.partition("\n")
    assert mask == f"::add-mask::{TOKEN}"
    return json.loads(rest)


def test_a_move_that_succeeds(runner: Runner, cloud: Cloud) -> None:  # noqa: F811
    process = runner.start(workload="shop", to="cloud", mode="cold")
    worked(cloud, process)
    ran = runner.ended(process)
    assert ran.code == 0, ran.err
    receipt = document(ran)
    assert receipt["state"] == ran.outputs["state"] == "succeeded"
    assert receipt["id"] == ran.outputs["migration"]
    assert float(ran.outputs["downtime_ms"]) == receipt["downtime_ms"]
    assert json.loads(Path(ran.outputs["receipt"]).read_text()) == receipt
    assert "### shop moved" in ran.summary
    assert "| To | cloud |" in ran.summary
    assert set(ran.outputs) == set(ACTION["outputs"])
    assert TOKEN not in ran.err + ran.summary


def test_a_move_that_is_undone(runner: Runner, cloud: Cloud) -> None:  # noqa: F811
    process = runner.start(workload="shop", to="cloud")
    cloud.work_until(lambda: bool(cloud.serving.control.moves.active()))
    (migration,) = cloud.serving.control.moves.active().values()
    with cloud.serving.client() as api:
        assert api.post(f"/v1/migrations/{migration}/cancel").status_code == 202
    worked(cloud, process)
    ran = runner.ended(process)
    assert ran.code == 1
    assert ran.outputs["state"] == "rolled_back"
    assert "everything is as before" in ran.summary
    assert "::error title=Porter::" in ran.err


def test_a_move_that_takes_longer(runner: Runner, cloud: Cloud) -> None:  # noqa: F811
    ran = runner.run(workload="shop", to="cloud", wait="0.2")
    assert ran.code == 3
    assert ran.outputs["state"] == "pending"
    assert ran.outputs["migration"] in cloud.serving.control.moves.active().values()
    assert ran.outputs["downtime_ms"] == ""
    assert "after 0.2 s it is pending" in ran.err


@pytest.mark.parametrize("to", ["nowhere", "onprem"])
def test_a_move_that_is_refused(runner: Runner, cloud: Cloud, to: str) -> None:  # noqa: F811
    ran = runner.run(workload="shop", to=to)
    assert ran.code == 2
    assert ran.outputs == {"state": "refused"}
    assert "porter: cannot " in ran.err
    assert ran.summary.startswith("### Porter\n\ncannot ")


def test_inputs_are_no_code(runner: Runner, cloud: Cloud) -> None:  # noqa: F811
    word = '--to=x"; touch hacked; $(touch hacked) `touch hacked`\nstate=succeeded'
    ran = runner.run(workload=word, to=word, mode="cold")
    assert ran.code == 2
    assert ran.outputs == {"state": "refused"}
    assert not (runner.folder / "hacked").exists()
    assert runner.run(workload="shop", to="cloud", mode="warp").code == 2
    assert runner.run(workload="shop", to="cloud", **{"dry-run": "perhaps"}).code == 2
    assert runner.run(workload="shop", to="cloud", python="/nowhere/python").code == 2


def test_a_dry_run_asks_the_hosts(runner: Runner, cloud: Cloud) -> None:  # noqa: F811
    process = runner.start(workload="shop", to="cloud", **{"dry-run": "true"})
    worked(cloud, process)
    ran = runner.ended(process)
    assert ran.code == 0, ran.err
    assert document(ran)["ok"] is True
    assert ran.outputs == {"state": "ready"}
    assert "Nothing stands in the way of moving shop to cloud" in ran.summary
    assert not cloud.serving.control.moves.active()


def test_a_wrong_token_and_no_control_plane(tmp_path: Path, serving: Serving) -> None:  # noqa: F811
    ran = Runner(serving.url, tmp_path, "wrong").run(workload="shop", to="cloud")
    assert (ran.code, ran.outputs) == (2, {"state": "refused"})
    for file in ("output", "summary"):
        (tmp_path / file).unlink()
    ran = Runner("http://127.0.0.1:9", tmp_path).run(workload="shop", to="cloud")
    assert (ran.code, ran.outputs) == (1, {"state": "unknown"})
    assert "cannot reach the control plane" in ran.err


def test_the_token_is_in_the_environment_only() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
        uses = [line for line in step["run"].splitlines() if "PORTER_API_TOKEN" in line]
        assert [line.split()[0] for line in uses] == ["echo"]  # the shell's own, no process


def test_the_example_gives_what_the_action_takes() -> None:
    (job,) = WORKFLOW["jobs"].values()
    (step,) = (one for one in job["steps"] if one.get("id") == "porter")
    assert step["uses"] == "./porter/actions/migrate"
    assert set(step["with"]) <= set(ACTION["inputs"])
    needed = {name for name, one in ACTION["inputs"].items() if one.get("required")}
    assert needed <= set(step["with"])
    asked = re.findall(r"steps\.porter\.outputs\.(\w+)", yaml.safe_dump(job))
    assert set(asked) <= set(ACTION["outputs"])
    assert step["with"]["token"] == "${{ secrets.PORTER_TOKEN }}"
