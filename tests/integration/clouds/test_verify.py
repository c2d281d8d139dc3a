"""`porter site verify`, from the command line to a cloud that lacks one right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from porter.cli.main import main
from porter.lab.clouds.aws import AwsStandIn
from porter.lab.clouds.gcp import GcpCloud
from tests.contracts.provider_contracts import Bench
from tests.integration.clouds.test_aws import AwsBench
from tests.integration.clouds.test_gcp import GcpBench
from tests.unit.web.conftest import TOKEN, Serving, serving  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.integration,
    # The control plane keeps sites open, and with them the SDKs' connections, until it ends.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextmanager
def aws(folder: Path) -> Iterator[Bench]:
    cloud = AwsStandIn()
    cloud.start(folder, "127.0.0.1")
    yield AwsBench(cloud)
    cloud.stop()


@contextmanager
def gcp(folder: Path) -> Iterator[Bench]:
    cloud = GcpCloud()
    cloud.start(folder, "127.0.0.1")
    yield GcpBench(cloud)
    cloud.stop()


@pytest.mark.parametrize("cloud", [aws, gcp], ids=["aws", "gcp"])
def test_a_missing_right_is_named_with_its_remedy(
    serving: Serving,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    cloud: Callable[[Path], Any],
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    options = ["--api", serving.url, "--token-file", str(tmp_path / "token")]

    def porter(*words: str) -> tuple[int, str]:
        code = main([*options, *words])
        return code, capsys.readouterr().out

    def add(name: str, config: Any) -> None:
        words = [word for k, v in config.settings.items() for word in ("--set", f"{k}={v}")]
        for key, value in config.secrets.items():
            (tmp_path / key).write_text(value)
            words += ["--secret", f"{key}={tmp_path / key}"]
        kind = ["--kind", str(config.kind), "--region", config.region]
        assert porter("site", "add", name, *kind, *words)[0] == 0

    (tmp_path / "cloud").mkdir()
    with cloud(tmp_path / "cloud") as bench:
        add("whole", bench.open().config)
        code, out = porter("site", "verify", "whole", "--json")
        assert [right["name"] for right in json.loads(out) if not right["granted"]] == []
        assert code == 0
        provider, missing = bench.lacking()
        add("lacking", provider.config)
        code, out = porter("site", "verify", "lacking", "--json")
        found = [right for right in json.loads(out) if right["granted"] is False]
        assert code == 2
        assert [right["name"] for right in found] == [missing]
        assert found[0]["remedy"]
        code, out = porter("site", "verify", "lacking")
        assert missing in out
