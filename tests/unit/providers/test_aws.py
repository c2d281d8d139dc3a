"""What AWS can answer and moto never does: botocore's stubber checks each answer's shape."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore import exceptions as sdk
from botocore.stub import Stubber

from porter.domain.errors import (
    Conflict,
    Denied,
    Exhausted,
    Invalid,
    NotFound,
    Permanent,
    PorterError,
    Transient,
)
from porter.domain.site import SiteKind
from porter.providers.aws.addresses import AwsAddressing
from porter.providers.aws.balancing import AwsLoadBalancing
from porter.providers.aws.dns import AwsDns
from porter.providers.aws.errors import translate
from porter.providers.aws.hosts import AwsHosts
from porter.providers.aws.launching import client_token
from porter.providers.aws.rights import AwsRights, Need, principal
from porter.providers.aws.session import ATTEMPTS, Session
from porter.providers.aws.settings import Settings, parse
from porter.providers.base import Destination, LaunchSpec, Pending, RecordSet, SiteConfig
from porter.providers.registry import open_site

REGION = "eu-west-1"
SECRETS = {"access_key_id": "AKIAUNIT", "secret_access_key": "very-secret"}
IMAGE = "ami-0123456789abcdef0"


def config(secrets: Mapping[str, str] = SECRETS, **settings: str) -> SiteConfig:
    return SiteConfig("aws:eu-west-1", SiteKind.AWS, REGION, settings, secrets)


class Stubs:
    """Sessions whose services answer what a test says, in order."""

    def __init__(self) -> None:
        self.session = Session(config(), Settings())
        self._stubbers: dict[str, Stubber] = {}

    def say(self, service: str, operation: str, answer: dict[str, Any], **asked: Any) -> None:
        self._of(service).add_response(operation, answer, asked or None)

    def refuse(self, service: str, operation: str, code: str, message: str = "no") -> None:
        self._of(service).add_client_error(operation, code, message)

    def _of(self, service: str) -> Stubber:
        if service not in self._stubbers:
            self._stubbers[service] = Stubber(self.session.client(service))
            self._stubbers[service].activate()
        return self._stubbers[service]

    def finish(self) -> None:
        for stubber in self._stubbers.values():
            stubber.assert_no_pending_responses()


@pytest.fixture
def stubs() -> Iterator[Stubs]:
    made = Stubs()
    yield made
    made.finish()


def error(code: str, status: int = 400, message: str = "because") -> sdk.ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return sdk.ClientError(answer, "RunInstances")


@pytest.mark.parametrize(
    ("code", "status", "wanted"),
    [
        ("RequestLimitExceeded", 503, Transient),
        ("Throttling", 400, Transient),
        ("ThrottlingException", 400, Transient),
        ("EC2ThrottledException", 400, Transient),
        ("PriorRequestNotComplete", 400, Transient),
        ("Unavailable", 503, Transient),
        ("InternalError", 500, Transient),
        ("SomethingNew", 502, Transient),
        ("IncorrectInstanceState", 400, Transient),
        ("InsufficientInstanceCapacity", 500, Exhausted),
        ("InsufficientAddressCapacity", 400, Exhausted),
        ("VcpuLimitExceeded", 400, Exhausted),
        ("AddressLimitExceeded", 400, Exhausted),
        ("VolumeLimitExceeded", 400, Exhausted),
        ("MaxSpotInstanceCountExceeded", 400, Exhausted),
        ("SpotMaxPriceTooLow", 400, Exhausted),
        ("Unsupported", 400, Exhausted),
        ("TooManyTargets", 400, Exhausted),
        ("UnauthorizedOperation", 403, Denied),
        ("AccessDenied", 403, Denied),
        ("AccessDeniedException", 400, Denied),
        ("OptInRequired", 401, Denied),
        ("AuthFailure", 401, Denied),
        ("InvalidClientTokenId", 403, Denied),
        ("ExpiredToken", 400, Denied),
        ("ExpiredTokenException", 400, Denied),
        ("SignatureDoesNotMatch", 403, Denied),
        ("RequestExpired", 400, Denied),
        ("InvalidInstanceID.NotFound", 400, NotFound),
        ("TargetGroupNotFound", 400, NotFound),
        ("NoSuchHostedZone", 404, NotFound),
        ("InvalidParameterValue", 400, Invalid),
        ("InvalidSubnetID.Malformed", 400, Invalid),
        ("ValidationError", 400, Invalid),
        ("UnsupportedOperation", 400, Permanent),
        ("SomethingNew", 400, Permanent),
    ],
)
def test_codes_are_understood(code: str, status: int, wanted: type[PorterError]) -> None:
    found = translate(error(code, status), "launch h", "ec2")
    assert type(found) is wanted
    assert str(found).startswith("cannot launch h: ")


@pytest.mark.parametrize(
    ("raised", "wanted"),
    [
        (sdk.EndpointConnectionError(endpoint_url="https://x"), Transient),
        (sdk.ConnectTimeoutError(endpoint_url="https://x"), Transient),
        (sdk.ReadTimeoutError(endpoint_url="https://x"), Transient),
        (sdk.ConnectionClosedError(endpoint_url="https://x"), Transient),
        (sdk.SSLError(endpoint_url="https://x", error="bad"), Transient),
        (sdk.NoCredentialsError(), Denied),
        (sdk.CredentialRetrievalError(provider="p", error_msg="very-secret"), Denied),
        (sdk.ProfileNotFound(profile="p"), Invalid),
        (sdk.ParamValidationError(report="x"), Invalid),
        (sdk.DataNotFoundError(data_path="x"), Permanent),
    ],
)
def test_errors_of_the_sdk_are_understood(raised: Exception, wanted: type[PorterError]) -> None:
    found = translate(raised, "launch h", "ec2")
    assert type(found) is wanted
    assert "very-secret" not in str(found)


def test_a_refusal_names_the_right_that_was_missing() -> None:
    text = (
        "You are not authorized to perform this operation. User: arn:aws:iam::1:user/x is not"
        " authorized to perform: ec2:CreateTags on resource: y because no policy allows it."
        " Encoded authorization failure message: 4GIOHlTkIaWHQD0Q0m6XSnuUMCm"
    )
    found = translate(error("UnauthorizedOperation", 403, text), "launch h", "ec2")
    assert "ec2:CreateTags" in found.message
    assert "docs/policies/aws.json" in found.remedy
    assert "4GIOHl" not in str(found)
    plain = translate(error("UnauthorizedOperation", 403, "no"), "launch h", "ec2")
    assert "ec2:RunInstances" in plain.message


def test_the_client_token_is_the_keys_own() -> None:
    assert client_token("p-1") == client_token("p-1")
    assert client_token("p-1") != client_token("p-2")
    assert len(client_token("p" * 40)) <= 64


# -- settings and credentials -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("image", "debian"),
        ("subnet", "subnet-1"),
        ("security_groups", "default"),
        ("role_arn", "porter"),
        ("endpoint_url", "localhost"),
        ("instance_types", "t3.micro;m5.large"),
        ("settle_seconds", "soon"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(setting: str, value: str) -> None:
    with pytest.raises(Invalid, match=setting):
        open_site(config(**{setting: value}))


def test_settings_are_read() -> None:
    found = parse(config(subnet="subnet-0123abcd, subnet-4567abcd", image=IMAGE, profile=" p "))
    assert found.subnets == ("subnet-0123abcd", "subnet-4567abcd")
    assert (found.image, found.profile) == (IMAGE, "p")
    with pytest.raises(Invalid, match="region"):
        parse(SiteConfig("aws", SiteKind.AWS, "Ireland"))


def test_half_a_key_is_refused() -> None:
    with pytest.raises(Invalid, match="not complete"):
        open_site(config({"access_key_id": "AKIAUNIT"}))


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has no credentials anywhere."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("bare")
def test_the_default_chain_may_find_nothing() -> None:
    hosts = open_site(config({}, endpoint_url="http://127.0.0.1:9")).hosts
    assert hosts is not None
    with pytest.raises(Denied, match="no credentials"):
        hosts.find("p-1")
    hosts = open_site(config({}, role_arn="arn:aws:iam::123456789012:role/porter")).hosts
    assert hosts is not None
    with pytest.raises(Denied, match="no credentials"):
        hosts.find("p-1")
    hosts = open_site(config({}, profile="nobody")).hosts
    assert hosts is not None
    with pytest.raises(Invalid, match="nobody"):
        hosts.find("p-1")


@pytest.mark.usefixtures("bare")
def test_the_default_chain_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    client = Session(config({}), Settings()).client("ec2")
    assert client._request_signer._credentials.access_key == "AKIAENV"


def test_clients_have_time_outs_and_retries() -> None:
    found = Session(config(), Settings()).client("ec2").meta.config
    assert found.retries["mode"] == "standard"
    assert found.retries["total_max_attempts"] == ATTEMPTS
    assert found.connect_timeout == 5
    assert found.read_timeout == 20


def test_no_secret_is_shown() -> None:
    assert "very-secret" not in repr(config())
    assert "very-secret" not in repr(open_site(config()))


# -- machines ---------------------------------------------------------------------------------


def described(state: str, reason: str = "", **other: Any) -> dict[str, Any]:
    one: dict[str, Any] = {
        "InstanceId": "i-0123456789abcdef0",
        "InstanceType": "t3.micro",
        "LaunchTime": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        "State": {"Name": state, "Code": 0},
        "Tags": [{"Key": "porter-key", "Value": "p-1"}],
        **other,
    }
    if reason:
        one["StateReason"] = {"Code": reason, "Message": f"{reason}: so it is"}
    return {"Reservations": [{"Instances": [one]}]}


SPEC = LaunchSpec("p-1", "h", "t3.micro", "#!/bin/sh\n", "o")


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        ("Server.InsufficientInstanceCapacity", Exhausted),
        ("Server.SpotInstanceTermination", Exhausted),
        ("Client.VolumeLimitExceeded", Exhausted),
        ("Client.InternalError", Permanent),
        ("Client.UserInitiatedShutdown", Permanent),
    ],
)
def test_a_machine_that_ends_while_it_starts_says_why(
    stubs: Stubs, reason: str, wanted: type[PorterError]
) -> None:
    """EC2 accepts a launch and may still end it: of all ways that is the commonest."""
    stubs.say("ec2", "describe_instances", described("pending"))
    stubs.say("ec2", "describe_instances", described("terminated", reason))
    hosts = AwsHosts(stubs.session, Settings(image=IMAGE))
    first = hosts.launch(SPEC)
    assert isinstance(first, Pending)
    with pytest.raises(wanted, match=reason) as caught:
        hosts.launch(SPEC, first.token)
    assert type(caught.value) is wanted


def test_two_machines_of_one_key_both_go(stubs: Stubs) -> None:
    """It should never be so; were it so, nothing may be left."""
    both = described("running")
    second = {**both["Reservations"][0]["Instances"][0], "InstanceId": "i-0aaaaaaaaaaaaaaaa"}
    both["Reservations"].append({"Instances": [second]})
    stubs.say("ec2", "describe_instances", both)
    stubs.say(
        "ec2",
        "terminate_instances",
        {},
        InstanceIds=["i-0123456789abcdef0", "i-0aaaaaaaaaaaaaaaa"],
    )
    assert isinstance(AwsHosts(stubs.session, Settings()).terminate("p-1"), Pending)


def test_power_off_asks_a_slow_shutdown_to_hurry_once(stubs: Stubs) -> None:
    hosts = AwsHosts(stubs.session, Settings())
    stubs.say("ec2", "describe_instances", described("stopping"))
    stubs.say(
        "ec2",
        "stop_instances",
        {},
        InstanceIds=["i-0123456789abcdef0"],
        Force=True,
        SkipOsShutdown=True,
    )
    stubs.say("ec2", "describe_instances", described("stopping"))
    stubs.say("ec2", "describe_instances", described("stopped"))
    token = ""
    for _ in range(2):
        answer = hosts.power_off("p-1", token)
        assert isinstance(answer, Pending)
        token = answer.token
    assert hosts.power_off("p-1", token) is None


def test_stars_in_an_owner_are_no_wildcards(stubs: Stubs) -> None:
    stubs.say(
        "ec2",
        "describe_instances",
        {"Reservations": []},
        Filters=[{"Name": "tag:porter-managed", "Values": ["a\\*b\\?"]}],
    )
    assert not AwsHosts(stubs.session, Settings()).managed("a*b?")


@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped", "shutting-down"])
def test_a_machine_that_is_not_gone_is_managed(stubs: Stubs, state: str) -> None:
    stubs.say("ec2", "describe_instances", described(state))
    assert len(AwsHosts(stubs.session, Settings()).managed("o")) == 1


def test_user_data_has_a_limit(stubs: Stubs) -> None:
    stubs.say("ec2", "describe_instances", {"Reservations": []})
    spec = LaunchSpec("p-1", "h", "t3.micro", "ü" * 8193, "o")
    with pytest.raises(Invalid, match="16384"):
        AwsHosts(stubs.session, Settings(image=IMAGE)).launch(spec)


def test_the_disk_is_never_smaller_than_the_image(stubs: Stubs) -> None:
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 64}}
    image = {"ImageId": IMAGE, "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [disk]}
    hosts = AwsHosts(stubs.session, Settings(image=IMAGE))
    stubs.say("ec2", "describe_images", {"Images": [image]})
    request = hosts._launching.request(SPEC)
    assert request["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 64
    assert request["MetadataOptions"]["HttpTokens"] == "required"


# -- addresses, targets, names ------------------------------------------------------------------


def test_an_address_of_a_gateway_is_not_taken(stubs: Stubs) -> None:
    entry = {
        "PublicIp": "203.0.113.7",
        "AllocationId": "eipalloc-1",
        "AssociationId": "eipassoc-1",
        "NetworkInterfaceId": "eni-1",
    }
    for _ in range(2):
        stubs.say("ec2", "describe_addresses", {"Addresses": [entry]})
    addressing = AwsAddressing(stubs.session)
    assert addressing.where("203.0.113.7") == "eni-1"
    with pytest.raises(Conflict, match="eni-1"):
        addressing.assign("203.0.113.7", "i-1")


ARN = "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/g/1"


def group(stubs: Stubs, *health: tuple[str, str, str], kind: str = "ip") -> None:
    found = {"TargetGroupArn": ARN, "TargetGroupName": "g", "TargetType": kind, "VpcId": "vpc-1"}
    stubs.say("elbv2", "describe_target_groups", {"TargetGroups": [found]})
    vpc = {"VpcId": "vpc-1", "CidrBlockAssociationSet": [{"CidrBlock": "10.0.0.0/16"}]}
    if kind == "ip":
        stubs.say("ec2", "describe_vpcs", {"Vpcs": [vpc]})
    entries = []
    for name, state, reason in health:
        told = {"State": state, **({"Reason": reason} if reason else {})}
        entries.append({"Target": {"Id": name, "Port": 80}, "TargetHealth": told})
    stubs.say("elbv2", "describe_target_health", {"TargetHealthDescriptions": entries})


@pytest.mark.parametrize(
    ("state", "reason", "done"),
    [
        ("healthy", "", True),
        ("unused", "Target.NotInUse", True),
        ("initial", "Elb.RegistrationInProgress", False),
        ("unhealthy", "Target.FailedHealthChecks", False),
        ("unused", "Target.InvalidState", False),
        ("unavailable", "Target.HealthCheckDisabled", False),
    ],
)
def test_targets_are_waited_for(stubs: Stubs, state: str, reason: str, done: bool) -> None:
    group(stubs, ("10.0.0.1", state, reason))
    answer = AwsLoadBalancing(stubs.session).set_targets("g", 80, [Destination("10.0.0.1")])
    assert (answer is None) is done


def test_what_drains_is_waited_for_and_may_come_back(stubs: Stubs) -> None:
    balancing = AwsLoadBalancing(stubs.session)
    drains = ("10.0.0.2", "draining", "Target.DeregistrationInProgress")
    group(stubs, ("10.0.0.1", "healthy", ""), drains)
    assert balancing.set_targets("g", 80, [Destination("10.0.0.1")]) is not None
    group(stubs, drains)
    stubs.say(
        "elbv2",
        "register_targets",
        {},
        TargetGroupArn=ARN,
        Targets=[{"Id": "10.0.0.2", "Port": 80}],
    )
    assert balancing.set_targets("g", 80, [Destination("10.0.0.2")]) is not None


def test_what_lies_outside_of_the_network_is_in_all_zones(stubs: Stubs) -> None:
    group(stubs)
    stubs.say(
        "elbv2",
        "register_targets",
        {},
        TargetGroupArn=ARN,
        Targets=[{"Id": "192.168.1.9", "Port": 80, "AvailabilityZone": "all"}],
    )
    ends = [Destination("192.168.1.9")]
    assert AwsLoadBalancing(stubs.session).set_targets("g", 80, ends) is not None


def test_a_group_of_functions_is_refused(stubs: Stubs) -> None:
    found = {"TargetGroupArn": ARN, "TargetGroupName": "g", "TargetType": "lambda"}
    stubs.say("elbv2", "describe_target_groups", {"TargetGroups": [found]})
    with pytest.raises(Invalid, match="lambda"):
        AwsLoadBalancing(stubs.session).targets("g")


def zones(stubs: Stubs, *found: tuple[str, str, bool]) -> None:
    entries = [
        {"Id": f"/hostedzone/{id_}", "Name": name, "CallerReference": "x"}
        | {"Config": {"PrivateZone": private}}
        for id_, name, private in found
    ]
    answer = {"HostedZones": entries, "Marker": "", "IsTruncated": False, "MaxItems": "100"}
    stubs.say("route53", "list_hosted_zones", answer)


def records(stubs: Stubs, *found: dict[str, Any]) -> None:
    answer = {"ResourceRecordSets": list(found), "IsTruncated": False, "MaxItems": "300"}
    stubs.say("route53", "list_resource_record_sets", answer)


def a_record(name: str, *values: str, **other: Any) -> dict[str, Any]:
    listed = [{"Value": value} for value in values]
    return {"Name": name, "Type": "A", "TTL": 60, "ResourceRecords": listed, **other}


def changed(stubs: Stubs, *changes: tuple[str, dict[str, Any]]) -> None:
    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    info = {"Id": "/change/C1", "Status": "PENDING", "SubmittedAt": when}
    listed = [{"Action": action, "ResourceRecordSet": one} for action, one in changes]
    stubs.say(
        "route53",
        "change_resource_record_sets",
        {"ChangeInfo": info},
        HostedZoneId="/hostedzone/Z1",
        ChangeBatch={"Changes": listed},
    )


def test_of_two_zones_the_public_one_is_meant(stubs: Stubs) -> None:
    names = (("ZP", "a.test.", True), ("Z1", "a.test.", False), ("Z0", "test.", False))
    zones(stubs, *names, ("Z2", "ba.test.", False))
    records(stubs)
    changed(stubs, ("UPSERT", a_record("www.a.test.", "10.0.0.1", "10.0.0.2")))
    wish = RecordSet("WWW.a.test", 60, {"10.0.0.2": 5, "10.0.0.1": 5})
    assert AwsDns(stubs.session).set_record(wish) is not None


def test_a_star_is_found_again(stubs: Stubs) -> None:
    zones(stubs, ("Z1", "a.test.", False))
    records(stubs, a_record("\\052.a.test.", "10.0.0.1"), a_record("b.a.test.", "10.0.0.9"))
    found = AwsDns(stubs.session).record("*.a.test")
    assert found == RecordSet("*.a.test", 60, {"10.0.0.1": 1})


def test_weights_become_records_of_their_own(stubs: Stubs) -> None:
    """A plain record and weighted ones cannot be together: one atomic batch changes over."""
    zones(stubs, ("Z1", "a.test.", False))
    records(stubs, a_record("w.a.test.", "10.0.0.9"))
    changed(
        stubs,
        ("DELETE", a_record("w.a.test.", "10.0.0.9")),
        ("UPSERT", a_record("w.a.test.", "10.0.0.1", SetIdentifier="porter-10.0.0.1", Weight=255)),
        ("UPSERT", a_record("w.a.test.", "10.0.0.2", SetIdentifier="porter-10.0.0.2", Weight=1)),
    )
    wish = RecordSet("w.a.test", 60, {"10.0.0.1": 1000, "10.0.0.2": 1})
    assert AwsDns(stubs.session).set_record(wish) is not None


def test_a_record_chosen_by_place_is_left_alone(stubs: Stubs) -> None:
    zones(stubs, ("Z1", "a.test.", False))
    special = {"SetIdentifier": "x", "GeoLocation": {"CountryCode": "DE"}}
    records(stubs, a_record("w.a.test.", "10.0.0.9", **special))
    with pytest.raises(Conflict, match="GeoLocation"):
        AwsDns(stubs.session).remove_record("w.a.test")


def test_records_that_change_meanwhile_are_read_again(stubs: Stubs) -> None:
    zones(stubs, ("Z1", "a.test.", False))
    records(stubs, a_record("w.a.test.", "10.0.0.9"))
    text = "[Tried to delete resource record set [name='w.a.test.', type='A'] but it was not found]"
    stubs.refuse("route53", "change_resource_record_sets", "InvalidChangeBatch", text)
    with pytest.raises(Transient, match="changed meanwhile"):
        AwsDns(stubs.session).remove_record("w.a.test")


# -- rights -------------------------------------------------------------------------------------


def test_a_role_asks_about_itself_and_missing_context_is_no_answer(stubs: Stubs) -> None:
    rights = AwsRights(stubs.session, Settings())
    arn = "arn:aws:iam::123456789012:role/porter"
    stubs.say(
        "iam",
        "simulate_principal_policy",
        {
            "EvaluationResults": [
                {"EvalActionName": "a:Yes", "EvalDecision": "allowed"},
                {"EvalActionName": "a:No", "EvalDecision": "explicitDeny"},
                {
                    "EvalActionName": "a:Perhaps",
                    "EvalDecision": "implicitDeny",
                    "MissingContextValues": ["aws:SourceIp"],
                },
            ],
            "IsTruncated": False,
        },
    )
    caller = "arn:aws:sts::123456789012:assumed-role/porter/session"
    assert principal(caller, REGION)[0] == arn
    needs = [Need(name, "x") for name in ("a:Yes", "a:No", "a:Perhaps")]
    assert rights._simulate(caller, needs) == {"a:Yes": True, "a:No": False}


def test_where_dry_runs_are_not_known_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some services that imitate EC2 carry them out."""
    called: list[str] = []

    def call(service: str, operation: str, doing: str, **asked: Any) -> dict[str, Any]:
        called.append(operation)
        return {"Arn": "arn:aws:iam::123456789012:user/porter"}

    session = Session(config(), Settings(image=IMAGE))
    monkeypatch.setattr(session, "call", call)
    monkeypatch.setattr(session, "pages", lambda *_, **__: iter(()))
    found = {one.name: one.granted for one in AwsRights(session, Settings(image=IMAGE)).check()}
    assert found["ec2:RunInstances"] is None
    assert not {"run_instances", "stop_instances", "terminate_instances"} & set(called)
