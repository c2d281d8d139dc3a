"""What is on the wire between an SDK and AWS: signed calls, and answers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_SCOPE = re.compile(
    r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request, *SignedHeaders=([^,]+), *Signature=(\w+)"
)
_ROUTE53 = (
    ("POST", r"/hostedzone/[^/]+/rrset", "ChangeResourceRecordSets"),
    ("GET", r"/hostedzone/[^/]+/rrset", "ListResourceRecordSets"),
    ("GET", r"/hostedzone", "ListHostedZones"),
    ("GET", r"/change/[^/]+", "GetChange"),
)
_JSON = ("ssm", "pricing")


@dataclass
class Fault:
    """Answer `action` with an error, `times` times; without a code, the connection is cut."""

    action: str
    code: str = ""
    status: int = 503
    times: int = 1
    effect: bool = False
    """True: the call is carried out before."""
    hold: float = 0
    """Seconds; more than 0: the call is carried out, and answered rightly, but so late."""
    hits: int = 0


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/xml"),)


@dataclass(frozen=True)
class Key:
    """An access key. `allowed` None: everything, but for what is `lacking`."""

    secret: str = field(repr=False)
    allowed: frozenset[str] | None = None
    lacking: frozenset[str] = frozenset()

    def may(self, action: str) -> bool:
        return action not in self.lacking and (self.allowed is None or action in self.allowed)


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    key: str = ""
    region: str = ""
    service: str = ""
    form: dict[str, str] = field(default_factory=dict)
    action: str = ""


class Refusal(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def scope(call: Call) -> tuple[str, str, str, str, str]:
    """Access key, region, service, signed headers and signature."""
    found = _SCOPE.search(call.headers.get("authorization", ""))
    if found is None:
        raise Refusal("MissingAuthenticationToken", "The request is not signed.", 403)
    key, region, service, signed, signature = found.groups()
    return key, region, service, signed, signature


def signature_of(call: Call, key: Key, region: str, service: str, signed: str) -> str:
    """What the signature would have to be."""
    request = AWSRequest(
        method=call.method,
        url=f"http://{call.headers['host']}{call.path}",
        data=call.body,
        headers={name: call.headers.get(name, "") for name in signed.split(";")},
    )
    request.context["timestamp"] = call.headers.get("x-amz-date", "")
    signer = SigV4Auth(Credentials("", key.secret), service, region)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return str(signer.signature(text, request))


def operation(call: Call, service: str, form: dict[str, str]) -> str:
    if service == "route53":
        path = call.path.partition("?")[0].removeprefix("/2013-04-01").rstrip("/")
        for method, pattern, name in _ROUTE53:
            if call.method == method and re.fullmatch(pattern, path):
                return name
        return f"{call.method} {path}"
    target = call.headers.get("x-amz-target", "")
    return form.get("Action") or target.rpartition(".")[2] or f"{call.method} {call.path}"


def error(service: str, code: str, message: str, status: int) -> Answer:
    if service in _JSON:
        body = json.dumps({"__type": code, "message": message})
        return Answer(status, body.encode(), (("Content-Type", "application/x-amz-json-1.1"),))
    entry = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    if service == "ec2":
        text = f"<Response><Errors>{entry}</Errors><RequestID>0</RequestID></Response>"
    else:
        text = f"<ErrorResponse>{entry}<RequestId>0</RequestId></ErrorResponse>"
    return Answer(status, text.encode())
