"""What AWS answers, as Porter's errors.

The code decides, not the HTTP status: EC2 says with 500 that it has no capacity left. A right is
named as IAM names it.
"""

from __future__ import annotations

import re

from botocore import exceptions as sdk

from porter.domain.errors import (
    Denied,
    Exhausted,
    Invalid,
    NotFound,
    Permanent,
    PorterError,
    Transient,
)

POLICY = "docs/policies/aws.json"
PREFIXES = {"elbv2": "elasticloadbalancing"}
"""IAM's name of a service where boto3 has another."""

_TRANSIENT = re.compile(
    r".*(Throttl|TooManyRequests).*|RequestLimitExceeded|SlowDown"
    r"|PriorRequestNotComplete|RequestTimeout.*|(Service)?Unavailable|InternalError|InternalFailure"
    r"|IncorrectInstanceState|IDPCommunicationError|BandwidthLimitExceeded"
)
_EXHAUSTED = re.compile(
    r"Insufficient\w*|\w+LimitExceeded|\w*SpotInstanceCountExceeded|SpotMaxPriceTooLow"
    r"|Unsupported|UnfulfillableCapacity|TooMany(Targets|Registrations\w*)|LimitsExceeded"
    r"|ReservationCapacityExceeded"
)
_CREDENTIALS = re.compile(
    r"AuthFailure|InvalidClientTokenId|UnrecognizedClient(Exception)?|Expired\w*Token\w*"
    r"|TokenRefreshRequired|RequestExpired|SignatureDoesNotMatch|IncompleteSignature"
    r"|InvalidAccessKeyId|MissingAuthenticationToken\w*|InvalidToken|InvalidSecurity"
)
_DENIED = re.compile(
    r"UnauthorizedOperation|AccessDenied\w*|Unauthorized\w*|OptInRequired|Blocked"
    r"|PendingVerification|OperationNotPermitted|NotAuthorized"
)
_NOT_FOUND = re.compile(r".*NotFound\w*|NoSuch\w+|ParameterNotFound")
_INVALID = re.compile(r"Invalid.*|Malformed.*|Missing.*|Validation\w*|UnknownParameter|\w*Mismatch")
_RACE = re.compile(r"not found|do not match|already exists")


def code_of(error: BaseException | None) -> str:
    """AWS's own code, also of a translated error; "" if there is none."""
    if isinstance(error, PorterError):
        error = error.__cause__
    if isinstance(error, sdk.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def translate(error: Exception, doing: str, service: str) -> PorterError:
    """The error to raise from `error`. `doing` completes "cannot …"; `service` is boto3's name."""
    if isinstance(error, PorterError):
        return error
    if isinstance(error, sdk.ClientError):
        return _answered(error, f"cannot {doing}", service)
    if isinstance(error, (sdk.HTTPClientError, sdk.ConnectionError)):
        return Transient(f"cannot {doing}: AWS cannot be reached ({type(error).__name__})")
    if isinstance(error, (sdk.NoCredentialsError, sdk.PartialCredentialsError)):
        return Denied(f"cannot {doing}: there are no credentials", _CREDENTIALS_REMEDY)
    if isinstance(error, (sdk.ProfileNotFound, sdk.ParamValidationError, sdk.NoRegionError)):
        return Invalid(f"cannot {doing}: {error}")
    if isinstance(error, (sdk.CredentialRetrievalError, sdk.TokenRetrievalError, sdk.SSOError)):
        return Denied(
            f"cannot {doing}: credentials cannot be had ({type(error).__name__})",
            _CREDENTIALS_REMEDY,
        )
    return Permanent(f"cannot {doing}: {type(error).__name__}")


_CREDENTIALS_REMEDY = "check the site's credentials and this machine's clock"


def _answered(error: sdk.ClientError, cannot: str, service: str) -> PorterError:
    code = code_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = _text(error)
    if _CREDENTIALS.fullmatch(code):
        # AWS's words may repeat the request here, so they are left out.
        return Denied(
            f"{cannot}: AWS does not accept the credentials ({code})", _CREDENTIALS_REMEDY
        )
    if _DENIED.fullmatch(code):
        right = right_of(error, service)
        return Denied(f"{cannot}: {right} is not allowed ({code})", f"allow {right}: see {POLICY}")
    if code == "InvalidChangeBatch" and _RACE.search(text):
        return Transient(f"{cannot}: the records have changed meanwhile ({code})")
    if _TRANSIENT.fullmatch(code):
        return Transient(f"{cannot}: {code}: {text}")
    if _EXHAUSTED.fullmatch(code):
        return Exhausted(
            f"{cannot}: {code}: {text}", "use another type or zone, or raise the quota"
        )
    if _NOT_FOUND.fullmatch(code):
        return NotFound(f"{cannot}: {code}: {text}")
    if _INVALID.fullmatch(code):
        return Invalid(f"{cannot}: {code}: {text}")
    if status >= 500 or status == 429:
        return Transient(f"{cannot}: {code or status}: {text}")
    return Permanent(f"{cannot}: {code or status}: {text}")


def right_of(error: sdk.ClientError, service: str) -> str:
    """The right that was missing: as AWS names it, else that of the call itself."""
    said = re.search(r"perform:? ([a-z0-9-]+:[A-Za-z]+)", str(error.response["Error"]))
    if said:
        return said[1]
    operation = str(error.operation_name)
    if operation in ("AssumeRole", "GetCallerIdentity"):
        return f"sts:{operation}"
    return f"{PREFIXES.get(service, service)}:{operation}"


def _text(error: sdk.ClientError) -> str:
    text = str(error.response.get("Error", {}).get("Message", ""))
    return text.split("Encoded authorization", 1)[0].strip().rstrip(".")[:300]
