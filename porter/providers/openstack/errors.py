"""What OpenStack answers, as Porter's errors. Messages are the services' own."""

from __future__ import annotations

import re

from keystoneauth1 import exceptions as auth
from openstack import exceptions as sdk

from porter.domain.errors import (
    Denied,
    Exhausted,
    Invalid,
    NotFound,
    Permanent,
    PorterError,
    Transient,
    Unsupported,
)

POLICY = "docs/policies/openstack.yaml"
_QUOTA = re.compile(r"quota|exceed\w* .*limit|over ?limit|too many .*(instances|cores)", re.I)
_NO_ROOM = re.compile(
    r"no valid host|exceeded maximum number of retries|exhausted all hosts|no such host"
    r"|insufficient|not enough|no more ip addresses|no more available",
    re.I,
)


def status_of(error: BaseException | None) -> int:
    """The HTTP status, also of a translated error; 0 if there is none."""
    if isinstance(error, PorterError):
        error = error.__cause__
    if isinstance(error, sdk.HttpException):
        return int(error.status_code or 0)
    if isinstance(error, auth.HttpError):
        return int(error.http_status or 0)
    return 0


def remedy(right: str) -> str:
    return f"allow {right}: see {POLICY}"


def translate(error: Exception, doing: str, right: str = "") -> PorterError:
    """The error to raise from `error`. `doing` completes "cannot …"."""
    cannot = f"cannot {doing}"
    if isinstance(error, auth.HttpError) and error.http_status in (401, 403):
        return Denied(
            f"{cannot}: Keystone does not accept the credentials",
            "check the site's secrets, project and domains",
        )
    if isinstance(
        error, (auth.ConnectFailure, auth.ConnectionError, auth.RetriableConnectionFailure)
    ):
        return Transient(f"{cannot}: OpenStack cannot be reached ({type(error).__name__})")
    status = status_of(error)
    if status:
        return _answered(error, status, cannot, right)
    if isinstance(error, (auth.DiscoveryFailure, auth.EndpointNotFound)):
        return Permanent(
            f"{cannot}: the catalogue has no such service in this region ({type(error).__name__})",
            "check the site's region and interface",
        )
    if isinstance(error, (sdk.ConfigException, auth.MissingRequiredOptions)):
        return Invalid(f"{cannot}: {error}", "check the site's settings, or clouds.yaml")
    return Permanent(f"{cannot}: {type(error).__name__}: {_text(error)}")


def _answered(error: Exception, status: int, cannot: str, right: str) -> PorterError:
    text = _text(error)
    if status in (403, 409, 413, 400) and _QUOTA.search(text):
        return Exhausted(f"{cannot}: {text}", "use another flavour, or raise the project's quota")
    if status in (401, 403):
        name = right or "the call"
        return Denied(f"{cannot}: {name} is not allowed ({status}: {text})", remedy(name))
    if status == 409 and _NO_ROOM.search(text):
        return Exhausted(f"{cannot}: {text}")
    if status in (408, 413, 429) or status >= 500:
        return Transient(f"{cannot}: {status}: {text}")
    if status == 404:
        return NotFound(f"{cannot}: {text}")
    if status == 400:
        return Invalid(f"{cannot}: {text}")
    if status == 406:
        return Unsupported(
            f"{cannot}: this OpenStack is too old: {text}", "Queens or newer is needed"
        )
    return Permanent(f"{cannot}: {status}: {text}")


def of_fault(doing: str, message: str) -> PorterError:
    """Why Nova could not make a server, by the fault it left on it."""
    if _NO_ROOM.search(message) or _QUOTA.search(message):
        return Exhausted(f"cannot {doing}: {message}", "use another flavour or zone")
    return Permanent(f"cannot {doing}: {message or 'Nova does not say why'}")


def _text(error: Exception) -> str:
    text = getattr(error, "details", None) or getattr(error, "message", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")[:300]
