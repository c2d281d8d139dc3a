"""AWS for the lab: moto behind a wire with rules of its own.

What an unmodified boto3 sends is parsed and carried out by moto, a program that others wrote; what
moto lets pass is checked in `aws_wire`. Nothing boots here: `machines` tells the lab what ought to
run. Not checked: quotas, conditions and resources of policies, network reachability, prices.
moto knows a target by its id only, so an instance cannot be in a group with two ports.
"""

from __future__ import annotations

import base64
import ipaddress
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from porter.domain.errors import Permanent
from porter.domain.site import SiteKind
from porter.lab.clouds.aws_calls import Answer, Call, Key
from porter.lab.clouds.aws_wire import Wire
from porter.lab.clouds.base import Machine
from porter.providers.base import TAG_HOST, SiteConfig

REGION = "eu-west-1"
ZONE = "aws.porter.test"
TYPES = "t3.micro,t3.small,t3.medium,t3.large,m5.large,c5.large,t4g.micro"
ALIAS = "/porter/lab/image"
PROFILE = "porter-host"
ROLE = "porter-role"
START_SECONDS = 60


class AwsStandIn:
    kind = SiteKind.AWS

    def __init__(self) -> None:
        self.wire: Wire
        self.image = ""
        self.account = ""
        self._url = ""
        self.backend = ""
        """moto's own endpoint, without rules."""
        self._stack = ExitStack()
        self._known: dict[tuple[str, str], Any] = {}
        self._clients: dict[str, Any] = {}

    def start(self, directory: Path, address: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        port = self._start_moto(directory / "moto.log", address)
        self.backend = f"http://{_host(address)}:{port}"
        self.wire = Wire((address, port), self._described)
        server = _Server((address, 0), _Handler)
        server.wire = self.wire
        self._stack.callback(server.server_close)
        self._stack.callback(server.shutdown)
        self._stack.callback(self.wire.stopping.set)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self._url = f"http://{_host(address)}:{server.server_address[1]}"
        self._furnish()

    def _start_moto(self, log: Path, address: str) -> int:
        with log.open("wb") as errors:
            child = subprocess.Popen(
                [sys.executable, "-m", __name__, address],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._stack.callback(_end, child)
        assert child.stdout is not None
        alarm = threading.Timer(START_SECONDS, child.kill)
        alarm.start()
        line = child.stdout.readline()
        alarm.cancel()
        if not line:
            self.stop()
            raise Permanent(f"cannot start moto: {log.read_text()[-1000:]}")
        return int(line)

    def stop(self) -> None:
        self._stack.close()
        self._clients.clear()

    def _furnish(self) -> None:
        """What an account has before Porter comes: image, alias, role, profile, zone."""
        images = self.client("ec2").describe_images(
            Filters=[
                {"Name": "architecture", "Values": ["x86_64"]},
                {"Name": "root-device-type", "Values": ["ebs"]},
            ]
        )["Images"]
        self.image = min(one["ImageId"] for one in images if not one.get("Platform"))
        self.client("ssm").put_parameter(Name=ALIAS, Value=self.image, Type="String")
        iam = self.client("iam")
        iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName=PROFILE)
        self.client("route53").create_hosted_zone(Name=ZONE, CallerReference="porter")
        self.account = self.client("sts").get_caller_identity()["Account"]

    def client(self, service: str) -> Any:
        """boto3 on moto itself: without rules, and not counted as a call."""
        if service not in self._clients:
            self._clients[service] = boto3.Session().client(
                service,
                region_name=REGION,
                endpoint_url=self.backend,
                aws_access_key_id="lab",
                aws_secret_access_key="lab",
            )
        return self._clients[service]

    def _described(self, kind: str, name: str) -> Any:
        """What moto knows of an image, type or parameter; None if nothing."""
        if (kind, name) not in self._known:
            try:
                if kind == "image":
                    found = self.client("ec2").describe_images(ImageIds=[name])["Images"][0]
                elif kind == "type":
                    answer = self.client("ec2").describe_instance_types(InstanceTypes=[name])
                    found = answer["InstanceTypes"][0]
                else:
                    found = self.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
            except (ClientError, IndexError):
                return None
            self._known[kind, name] = found
        return self._known[kind, name]

    def credentials(
        self, allowed: Iterable[str] | None = None, lacking: Iterable[str] = ()
    ) -> dict[str, str]:
        """A fresh access key: `SiteConfig.secrets`."""
        name, secret = f"AKIA{secrets.token_hex(8).upper()}", secrets.token_hex(20)
        granted = None if allowed is None else frozenset(allowed)
        self.wire.keys[name] = Key(secret, granted, frozenset(lacking))
        return {"access_key_id": name, "secret_access_key": secret}

    def site(self) -> SiteConfig:
        settings = {
            "image": self.image,
            "instance_types": TYPES,
            "endpoint_url": self._url,
            "settle_seconds": "1",
        }
        return SiteConfig(f"aws:{REGION}", SiteKind.AWS, REGION, settings, self.credentials())

    def machines(self) -> list[Machine]:
        ec2, found = self.client("ec2"), []
        for page in ec2.get_paginator("describe_instances").paginate():
            for one in (raw for item in page["Reservations"] for raw in item["Instances"]):
                state = one["State"]["Name"]
                if state in ("shutting-down", "terminated"):
                    continue
                answer = ec2.describe_instance_attribute(
                    InstanceId=one["InstanceId"], Attribute="userData"
                )
                script = base64.b64decode(answer.get("UserData", {}).get("Value", "")).decode()
                tags = {tag["Key"]: tag["Value"] for tag in one.get("Tags", ())}
                name = tags.get(TAG_HOST, one["InstanceId"])
                running = state in ("pending", "running")
                found.append(Machine(one["InstanceId"], name, running, script))
        return found

    def booted(self, machine: str, address: str) -> None:
        self.wire.addresses[machine] = address

    def new_address(self) -> str:
        return str(self.client("ec2").allocate_address(Domain="vpc")["PublicIp"])

    def new_group(self, target_type: str = "instance") -> str:
        """An empty target group behind a listener, by name."""
        name = f"g-{secrets.token_hex(6)}"
        ec2, elb = self.client("ec2"), self.client("elbv2")
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        arn = elb.create_target_group(
            Name=name, Protocol="TCP", Port=6379, VpcId=vpc, TargetType=target_type
        )["TargetGroups"][0]["TargetGroupArn"]
        subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]]
        balancer = elb.create_load_balancer(Name=name, Subnets=subnets, Type="network")
        elb.create_listener(
            LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
            Protocol="TCP",
            Port=6379,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
        )
        return name


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    wire: Wire


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.command, self.path, headers, self.rfile.read(length))
        answer = self.server.wire.serve(call)
        if answer is None:
            self.close_connection = True
        else:
            self._send(answer)

    do_POST = do_GET

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        try:
            self.wfile.write(answer.body)
        except OSError:
            self.close_connection = True  # whoever asked did not wait

    def log_message(self, format: str, *args: Any) -> None:
        """The SDK's own log tells more."""


def _host(address: str) -> str:
    return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address


def _end(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _serve_moto(address: str) -> None:
    """Tell the port, then serve until whoever started this is gone."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    app = DomainDispatcherApplication(create_backend_app)
    server = make_server(address, 0, app, threaded=True, request_handler=MotoRequestHandler)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    _serve_moto(sys.argv[1])
