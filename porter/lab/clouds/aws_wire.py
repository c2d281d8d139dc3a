"""Between an SDK and moto: what EC2 and IAM insist on, and moto does not.

Checked here: the request's signature; the rights of its access key (also in dry runs, and by the
policy simulator); that image and type of a launch exist and go together; that a client token makes
one machine. Added here: faults, slowness and late visibility, when a test asks for them. The price
list is empty.
"""

from __future__ import annotations

import http.client
import json
import re
import secrets
import threading
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

from porter.lab.clouds.aws_calls import (
    Answer,
    Call,
    Fault,
    Key,
    Refusal,
    error,
    operation,
    scope,
    signature_of,
)

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
ET.register_namespace("", NAMESPACE)
UNDER_WAY = {
    "running": ("0", "pending"),
    "stopped": ("64", "stopping"),
    "terminated": ("32", "shutting-down"),
}


class Wire:
    """Rules in front of moto. Used by many threads."""

    def __init__(self, backend: tuple[str, int], described: Callable[[str, str], Any]) -> None:
        self.faults: list[Fault] = []
        self.keys: dict[str, Key] = {}
        self.called: Counter[str] = Counter()
        """Every action that was carried out or refused, those included that a call implies."""
        self.invisible = 0
        """A new machine is left out of so many descriptions."""
        self.slow = 0
        """So many looks see a change still under way."""
        self.addresses: dict[str, str] = {}
        """Where machines are really reached, by id."""
        self.stopping = threading.Event()
        self._backend = backend
        self._described = described
        self._launches: dict[tuple[str, str], tuple[dict[str, str], Answer]] = {}
        self._unseen: Counter[str] = Counter()
        self._pending: Counter[str] = Counter()
        self._draining: dict[str, list[tuple[str, str]]] = {}
        self._spot: set[str] = set()
        self._lock = threading.RLock()
        self._rules: dict[str, Callable[[Call], Answer]] = {
            "ec2:RunInstances": self._run,
            "ec2:StopInstances": self._stop,
            "ec2:TerminateInstances": self._change_state,
            "ec2:DescribeInstances": self._describe,
            "ec2:DescribeVolumes": self._describe_disks,
            "sts:AssumeRole": self._assume,
            "sts:GetCallerIdentity": self._identity,
            "iam:SimulatePrincipalPolicy": self._simulate,
            "route53:ChangeResourceRecordSets": self._change_records,
            "route53:GetChange": self._get_change,
            "pricing:GetProducts": self._products,
            "elasticloadbalancing:RegisterTargets": self._register,
            "elasticloadbalancing:DeregisterTargets": self._register,
            "elasticloadbalancing:DescribeTargetHealth": self._health,
        }

    def serve(self, call: Call) -> Answer | None:
        """The answer; None to cut the connection."""
        try:
            call = self._authenticate(call)
            self._authorise(call)
            fault = self._fault(call.action)
            if fault is None or fault.effect or fault.hold:
                answer = self._carry_out(call)
            if fault is None:
                return answer
            if fault.hold:
                self.stopping.wait(fault.hold)
                return answer
            if not fault.code:
                return None
            return error(call.service, fault.code, "injected", fault.status)
        except Refusal as refusal:
            return error(scope(call)[2], refusal.code, str(refusal), refusal.status)

    def _carry_out(self, call: Call) -> Answer:
        if call.action.startswith("ec2:Describe") and call.form.get("DryRun") == "true":
            message = (
                "Request would have succeeded, but DryRun flag is set."  # moto may overlook it
            )
            raise Refusal("DryRunOperation", message, 412)
        return self._rules.get(call.action, self._forward)(call)

    def _fault(self, action: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.action == action and fault.times > 0:
                    fault.times -= 1
                    fault.hits += 1
                    return fault
        return None

    # -- who may do what ------------------------------------------------------------------------

    def _authenticate(self, call: Call) -> Call:
        name, region, service, signed, signature = scope(call)
        key = self.keys.get(name)
        if key is None:
            code = "AuthFailure" if service == "ec2" else "InvalidClientTokenId"
            raise Refusal(code, "The security token included in the request is invalid.", 403)
        if not secrets.compare_digest(signature, signature_of(call, key, region, service, signed)):
            raise Refusal("SignatureDoesNotMatch", "The signature does not match.", 403)
        form = {}
        if service in ("ec2", "sts", "iam", "elasticloadbalancing"):
            form = dict(parse_qsl(call.body.decode(), keep_blank_values=True))
        return Call(
            call.method,
            call.path,
            call.headers,
            call.body,
            key=name,
            region=region,
            service=service,
            form=form,
            action=f"{service}:{operation(call, service, form)}",
        )

    def _authorise(self, call: Call) -> None:
        needed = [call.action]
        if call.action == "ec2:RunInstances":
            form = call.form
            if any(name.startswith("TagSpecification.") for name in form):
                needed.append("ec2:CreateTags")
            if any(name.startswith("IamInstanceProfile.") for name in form):
                needed.append("iam:PassRole")
            if form.get("ImageId", "").startswith("resolve:ssm:"):
                needed.append("ssm:GetParameters")
        with self._lock:
            self.called.update(needed)
        for action in needed:
            if action != "sts:GetCallerIdentity" and not self.keys[call.key].may(action):
                code = {"ec2": "UnauthorizedOperation", "ssm": "AccessDeniedException"}
                raise Refusal(
                    code.get(call.service, "AccessDenied"),
                    "User: arn:aws:iam::123456789012:user/porter is not authorized to perform:"
                    f" {action} on resource: * because no identity-based policy allows it",
                    403,
                )

    def _assume(self, call: Call) -> Answer:
        answer = self._forward(call)
        made, secret = (
            re.search(rf"<{name}>([^<]+)<", answer.body.decode())
            for name in ("AccessKeyId", "SecretAccessKey")
        )
        if made and secret:
            asking = self.keys[call.key]
            self.keys[made[1]] = Key(secret[1], asking.allowed, asking.lacking)
        return answer

    def _identity(self, call: Call) -> Answer:
        """moto writes a user's ARN with the wrong service."""
        answer = self._forward(call)
        body = re.sub(rb":sts::(\d+):user/", rb":iam::\1:user/", answer.body)
        return Answer(answer.status, body, answer.headers)

    def _simulate(self, call: Call) -> Answer:
        """moto has no simulator. Only the caller itself may be asked about."""
        source = call.form.get("PolicySourceArn", "")
        if not re.fullmatch(r"arn:aws:iam::\d{12}:(user|role)/\S+", source):
            raise Refusal("InvalidInput", f"Invalid entity ARN {source}")
        names = [v for k, v in call.form.items() if k.startswith("ActionNames.member.")]
        results = "".join(
            f"<member><EvalActionName>{escape(name)}</EvalActionName><EvalDecision>"
            f"{'allowed' if self.keys[call.key].may(name) else 'implicitDeny'}"
            "</EvalDecision></member>"
            for name in names
        )
        return Answer(
            200,
            "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult>"
            f"<IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>"
            "</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>".encode(),
        )

    # -- instances ------------------------------------------------------------------------------

    def _run(self, call: Call) -> Answer:
        form = dict(call.form)
        dry = form.pop("DryRun", "false") == "true"
        token = form.pop("ClientToken", "")
        with self._lock:
            known = self._launches.get((call.region, token)) if token and not dry else None
            if known is not None and known[0] != form:
                raise Refusal(
                    "IdempotentParameterMismatch",
                    "Arguments on this idempotent request are inconsistent with arguments used in"
                    " previous request(s).",
                )
            if known is not None:
                return known[1]
            image = form.get("ImageId", "")
            if image.startswith("resolve:ssm:"):
                image = str(self._described("parameter", image.removeprefix("resolve:ssm:")))
            self._check_launch(image, form.get("InstanceType", ""))
            body = urlencode({**call.form, "ImageId": image}).encode()
            answer = self._forward(call, body)
            if answer.status == 200:
                self._launches[call.region, token] = (form, answer)
                for made in re.findall(r"<instanceId>([^<]+)<", answer.body.decode()):
                    self._unseen[made] = self.invisible
                    self._pending[made] = self.slow
                    if form.get("InstanceMarketOptions.MarketType") == "spot":
                        self._spot.add(made)
            return answer

    def _check_launch(self, image: str, kind: str) -> None:
        picture, size = self._described("image", image), self._described("type", kind)
        if picture is None:
            raise Refusal("InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")
        if size is None:
            raise Refusal("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
        if picture["Architecture"] not in size["ProcessorInfo"]["SupportedArchitectures"]:
            raise Refusal(
                "InvalidParameterValue",
                f"The architecture of {kind} does not match the architecture"
                f" '{picture['Architecture']}' of the specified AMI.",
            )

    def _stop(self, call: Call) -> Answer:
        if self._spot.intersection(call.form.values()):
            raise Refusal(
                "UnsupportedOperation",
                "You can't stop the Spot Instance because it is associated with a one-time Spot"
                " Instance request.",
            )
        return self._change_state(call)

    def _change_state(self, call: Call) -> Answer:
        answer = self._forward(call)
        if answer.status == 200:
            with self._lock:
                for name, value in call.form.items():
                    if name.startswith("InstanceId."):
                        self._pending[value] = self.slow
        return answer

    def _describe(self, call: Call) -> Answer:
        answer = self._forward(call)
        if answer.status != 200:
            return answer
        root = ET.fromstring(answer.body)
        reservations = root.find("{*}reservationSet")
        for reservation in list(reservations if reservations is not None else ()):
            instances = reservation.find("{*}instancesSet")
            for instance in list(instances if instances is not None else ()):
                if not self._adjust(instance):
                    instances.remove(instance)  # type: ignore[union-attr]
            if instances is None or len(instances) == 0:
                reservations.remove(reservation)  # type: ignore[union-attr]
        return Answer(200, ET.tostring(root), answer.headers)

    def _describe_disks(self, call: Call) -> Answer:
        """Those of machines that are not to be seen yet are left out too."""
        answer = self._forward(call)
        if answer.status != 200:
            return answer
        root = ET.fromstring(answer.body)
        disks = root.find("{*}volumeSet")
        for disk in list(disks if disks is not None else ()):
            holder = disk.findtext("{*}attachmentSet/{*}item/{*}instanceId") or ""
            if self._unseen[holder] > 0:
                disks.remove(disk)  # type: ignore[union-attr]
        return Answer(200, ET.tostring(root), answer.headers)

    def _adjust(self, instance: ET.Element) -> bool:
        """False: it is not to be seen yet."""
        name = instance.findtext("{*}instanceId") or ""
        if self._take(self._unseen, name):
            return False
        state = instance.find("{*}instanceState")
        if state is not None and self._take(self._pending, name):
            now = UNDER_WAY.get(state.findtext("{*}name") or "")
            for tag, text in zip(("code", "name"), now or (), strict=False):
                state.find(f"{{*}}{tag}").text = text  # type: ignore[union-attr]
        address = instance.find("{*}privateIpAddress")
        if address is not None and name in self.addresses:
            address.text = self.addresses[name]
            public = instance.find("{*}ipAddress")
            if public is not None:
                instance.remove(public)  # what moto makes up leads nowhere
        return True

    def _take(self, counter: Counter[str], name: str) -> bool:
        with self._lock:
            if counter[name] <= 0:
                return False
            counter[name] -= 1
            return True

    # -- target groups and records --------------------------------------------------------------

    def _register(self, call: Call) -> Answer:
        answer = self._forward(call)
        if answer.status == 200:
            group = call.form["TargetGroupArn"]
            with self._lock:
                self._pending[group] = self.slow
                self._draining[group] = []
                if call.action.endswith(":DeregisterTargets"):
                    ids = [v for k, v in sorted(call.form.items()) if k.endswith(".Id")]
                    ports = [v for k, v in sorted(call.form.items()) if k.endswith(".Port")]
                    self._draining[group] = list(zip(ids, ports, strict=True))
        return answer

    def _health(self, call: Call) -> Answer:
        answer = self._forward(call)
        group = call.form.get("TargetGroupArn", "")
        if answer.status != 200 or not self._take(self._pending, group):
            return answer
        leaving = "".join(
            f"<member><Target><Id>{name}</Id><Port>{port}</Port></Target><TargetHealth>"
            "<State>draining</State></TargetHealth></member>"
            for name, port in self._draining.get(group, ())
        )
        text = answer.body.decode().replace(">healthy<", ">initial<")
        text = re.sub(
            r"<TargetHealthDescriptions ?/>",
            "<TargetHealthDescriptions></TargetHealthDescriptions>",
            text,
        )
        text = text.replace("</TargetHealthDescriptions>", leaving + "</TargetHealthDescriptions>")
        return Answer(200, text.encode(), answer.headers)

    def _change_records(self, call: Call) -> Answer:
        """moto has one id for all changes."""
        answer = self._forward(call)
        with self._lock:
            self._pending["change"] = self.slow
        return answer

    def _get_change(self, call: Call) -> Answer:
        answer = self._forward(call)
        if answer.status != 200 or not self._take(self._pending, "change"):
            return answer
        return Answer(200, answer.body.replace(b"INSYNC", b"PENDING"), answer.headers)

    def _products(self, call: Call) -> Answer:
        body = json.dumps({"FormatVersion": "aws_v1", "PriceList": []}).encode()
        return Answer(200, body, (("Content-Type", "application/x-amz-json-1.1"),))

    # -- moto -----------------------------------------------------------------------------------

    def _forward(self, call: Call, body: bytes | None = None) -> Answer:
        data = call.body if body is None else body
        headers = {**call.headers, "content-length": str(len(data)), "connection": "close"}
        connection = http.client.HTTPConnection(*self._backend, timeout=60)
        try:
            connection.request(call.method, call.path, data, headers)
            response = connection.getresponse()
            kept = [
                (name, value)
                for name, value in response.getheaders()
                if name.lower() not in ("content-length", "connection", "transfer-encoding")
            ]
            return Answer(response.status, response.read(), tuple(kept))
        finally:
            connection.close()
