"""Podman's create command, taken apart and put together again."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from porter.domain.errors import Unsupported
from porter.domain.workload import Image, Volume, WorkloadSpec
from porter.runtimes.recreate import Option, after_verb, parse, replay

HERE = {"web": "1" * 64, "localhost/web:1": "1" * 64}


def spec(*create: str, **changes: Any) -> WorkloadSpec:
    made = WorkloadSpec(
        name="web",
        container="c" * 64,
        container_name="web-1",
        running=True,
        image=Image("1" * 64, ("localhost/web:1",), ("sha256:a",), 1),
        address="10.77.1.5",
        mac="02:00:00:00:00:05",
        hostname="cccccccccccc",
        labels={"a": "1"},
        volumes=(),
        create=create,
        expect={"environment": ["FOO=from shell", "PATH=/bin"]},
        memory_bytes=0,
        file_bytes=0,
        shm_bytes=0,
    )
    return dataclasses.replace(made, **changes)


def made(*create: str, **changes: Any) -> str:
    return " ".join(replay(spec(*create, **changes), lambda name: HERE.get(name, "")))


FRONT = (
    "--name web-1 --hostname cccccccccccc --ip 10.77.1.5 --mac-address 02:00:00:00:00:05 "
    "--network porter"
)


@pytest.mark.parametrize(
    ("argv", "rest"),
    [
        (["podman", "run", "-d", "x"], ("-d", "x")),
        (["/usr/bin/podman", "--log-level=debug", "container", "create", "x"], ("x",)),
        (["podman", "start", "x"], None),
        ([], None),
    ],
)
def test_the_verb_is_found(argv: list[str], rest: tuple[str, ...] | None) -> None:
    assert after_verb(argv) == rest


@pytest.mark.parametrize(
    ("words", "options", "image", "command"),
    [
        (["i", "-d"], [], "i", ("-d",)),
        (["--", "i", "c"], [], "i", ("c",)),
        (["-d", "i"], [("detach", None)], "i", ()),
        (["--detach=true", "i"], [("detach", "true")], "i", ()),
        (["-dit", "i"], [("detach", None), ("interactive", None), ("tty", None)], "i", ()),
        (["-p8080:80", "i"], [("publish", "8080:80")], "i", ()),
        (["-dp", "8080:80", "i"], [("detach", None), ("publish", "8080:80")], "i", ()),
        (["-e=A=b", "-eC=d", "i"], [("env", "A=b"), ("env", "C=d")], "i", ()),
        (["-h", "me", "i"], [("hostname", "me")], "i", ()),
        (["--env", "A", "i"], [("env", "A")], "i", ()),
        (["--net=porter", "i"], [("network", "porter")], "i", ()),
        (["--entrypoint", "", "i", "a"], [("entrypoint", "")], "i", ("a",)),
        (["-m", "1g", "--read-only", "i"], [("memory", "1g"), ("read-only", None)], "i", ()),
    ],
)
def test_options_are_told_from_image_and_command(
    words: list[str], options: list[tuple[str, str | None]], image: str, command: tuple[str, ...]
) -> None:
    parsed = parse(words)
    assert [*parsed.options] == [Option(*one) for one in options]
    assert (parsed.image, parsed.command) == (image, command)


@pytest.mark.parametrize("words", [[], ["-d"], ["--name", "x"]])
def test_a_command_without_image_is_refused(words: list[str]) -> None:
    with pytest.raises(Unsupported, match="no image"):
        parse(words)


def test_what_only_run_knows_is_left_out() -> None:
    line = made(
        *("-d", "--rm", "--replace", "--cidfile=/x", "--pidfile", "/p", "-a", "stdout"),
        *("--sig-proxy=false", "--detach-keys", "ctrl-x", "--pull", "always", "--name", "old"),
        *("--network", "porter", "web", "-d", "--rm"),
    )
    assert line == f"{FRONT} web -d --rm"


def test_replaying_twice_changes_nothing() -> None:
    once = made("-d", "--network=porter", "-v", "/data", "web", "run", volumes=(VOLUME,))
    again = made(*once.split(), volumes=(VOLUME,))
    assert again == once


VOLUME = Volume("f" * 64, "/data", "volume")


def test_a_nameless_volume_keeps_its_name() -> None:
    line = made("--network", "porter", "-v", "/data:ro", "web", volumes=(VOLUME,))
    assert line == f"{FRONT} --volume {'f' * 64}:/data web"
    line = made("--network", "porter", "--mount", "type=volume,dst=/data", "web", volumes=(VOLUME,))
    assert line == f"{FRONT} --volume {'f' * 64}:/data web"


def test_a_volume_of_the_image_keeps_its_name() -> None:
    read_only = dataclasses.replace(VOLUME, read_only=True)
    line = made("--network", "porter", "web", volumes=(read_only,))
    assert line == f"{FRONT} --volume {'f' * 64}:/data:ro web"


def test_a_named_volume_is_left_as_it_is() -> None:
    named = Volume("data", "/data", "volume")
    line = made("--network", "porter", "-v", "data:/data:Z", "web", volumes=(named,))
    assert line == f"{FRONT} --volume data:/data:Z web"
    mount = "type=volume,src=data,target=/data"
    line = made("--network", "porter", "--mount", mount, "web", volumes=(named,))
    assert line == f"{FRONT} --mount {mount} web"


@pytest.mark.parametrize("given", ["--network porter:ip=10.77.9.9", "--net=porter:mac=aa,ip=1"])
def test_an_address_given_with_the_network_is_pinned_there(given: str) -> None:
    line = made(*given.split(), "web")
    assert "--ip " not in line
    assert line.endswith("--network porter:ip=10.77.1.5,mac=02:00:00:00:00:05 web")


def test_other_options_of_the_network_stay() -> None:
    line = made("--network", "porter:alias=db,ip=1", "web")
    assert "--network porter:alias=db,ip=10.77.1.5,mac=02:00:00:00:00:05" in line


def test_a_pinned_address_is_not_given_twice() -> None:
    line = made("--ip", "10.77.1.5", "--mac-address=x", "--network", "porter", "web")
    assert line == f"{FRONT} web"


def test_without_a_network_nothing_is_pinned() -> None:
    line = made("--network", "none", "web", address="", mac="")
    assert line == "--name web-1 --hostname cccccccccccc --network none web"


def test_values_of_the_callers_shell_are_written_out() -> None:
    line = made("--network", "porter", "-e", "FOO", "-e", "A=b", "web")
    assert line == f"{FRONT} --env FOO=from shell --env PATH=/bin web"
    line = made("--network", "porter", "--env-file", "/gone", "web")
    assert "/gone" not in line
    line = made("--network", "porter", "-e", "A=b", "web")
    assert line == f"{FRONT} --env A=b web"


def test_labels_of_a_file_are_written_out() -> None:
    line = made("--network", "porter", "--label-file", "/gone", "web")
    assert line == f"{FRONT} --label a=1 web"


def test_an_image_not_known_by_that_name_is_named_by_id() -> None:
    assert made("--network", "porter", "web:other").endswith("1" * 64)
    assert made("--network", "porter", "localhost/web:1").endswith("localhost/web:1")
