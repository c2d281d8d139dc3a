"""Logging in and out with a browser: at an OpenID Connect issuer, or with the first token.

The forms work without scripts. Before there is a session, what ties a form to its browser is the
login cookie: the form carries a value derived from it, which no other site can know.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from porter.db.identity import SESSION_S, Identity, Session
from porter.domain.errors import Denied, Invalid, PorterError
from porter.domain.identity import EVERYWHERE, Grant, Role
from porter.settings import Settings
from porter.web.access import SESSION
from porter.web.errors import status_of
from porter.web.noted import became
from porter.web.oidc import Issuer, derive
from porter.web.pages.ground import HEADERS, render

log = logging.getLogger(__name__)

router = APIRouter(include_in_schema=False)
LOGIN_COOKIE = "porter_login"
COOKIE_S = 3600
MOST = 16_384
"""Bytes of a form."""
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_BEGIN_AGAIN = "begin again at /login"


class Login:
    """What the routes below need of the application."""

    def __init__(self, settings: Settings, identity: Identity, token: str) -> None:
        self.identity = identity
        self.issuer = _issuer(settings)
        self.secure = settings.public_url.startswith("https:")
        # The prefix keeps names beside and below ours from setting it (RFC 6265bis).
        self.cookie = f"__Host-{LOGIN_COOKIE}" if self.secure else LOGIN_COOKIE
        self._token = token.encode()

    def is_first(self, token: str) -> bool:
        """Whether this is the control plane's first token."""
        return hmac.compare_digest(token.strip().encode(), self._token)

    def secret(self, request: Request) -> str:
        """The browser's login secret; empty if it has none that could be ours."""
        found = request.cookies.get(self.cookie, "")
        return found if _SECRET.fullmatch(found) else ""

    def keep(self, response: Response, name: str, value: str, seconds: float) -> None:
        response.set_cookie(
            name, value, int(seconds), httponly=True, samesite="lax", secure=self.secure
        )

    def enter(self, request: Request, user: str | None, where: str) -> Response:
        """A new session, under a new secret, in place of an old one. Raises Denied."""
        secret, session = self.identity.begin_session(user, time.time())
        became(session.principal.id)
        if (old := request.cookies.get(SESSION)) is not None:
            self.identity.end_session(old)
        response = _go(where)
        self.keep(response, SESSION, secret, SESSION_S)
        response.delete_cookie(self.cookie, secure=self.secure, httponly=True, samesite="lax")
        return response


def _issuer(settings: Settings) -> Issuer | None:
    if not settings.oidc_issuer:
        return None
    if not settings.oidc_client_id:
        raise Invalid("cannot log in by OpenID Connect", "set PORTER_OIDC_CLIENT_ID, too")
    path, secret = settings.oidc_client_secret_file, ""
    if path is not None:
        try:
            secret = path.read_text().strip()
        except OSError as error:
            raise Invalid(
                f"cannot read the client secret in {path}: {error.strerror}",
                "see PORTER_OIDC_CLIENT_SECRET_FILE",
            ) from error
    back = f"{settings.public_url}/login/callback"
    return Issuer(settings.oidc_issuer, settings.oidc_client_id, secret, back)


def install(app: FastAPI, settings: Settings, identity: Identity, token: str) -> None:
    """Raises Invalid for settings that cannot be used."""
    app.state.login = Login(settings, identity, token)
    app.include_router(router)


def login_of(request: Request) -> Login:
    login: Login = request.app.state.login
    return login


async def form_of(request: Request) -> dict[str, str]:
    """A small form's fields. Raises Invalid for anything else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST:
            raise Invalid(f"cannot read the form: it has more than {MOST} bytes")
    if kind != "application/x-www-form-urlencoded" and body:
        raise Invalid("cannot read the form", "send application/x-www-form-urlencoded")
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=16))
    except ValueError as error:
        raise Invalid("cannot read the form", "load the page again") from error


Way = Annotated[Login, Depends(login_of)]
Form = Annotated[dict[str, str], Depends(form_of)]


def local(path: str) -> str:
    """The path if it stays on this control plane, else /. Browsers read `//x` and `/\\x` as the
    host x, and skip control characters."""
    stays = path.startswith("/") and not path.startswith("//")
    return path if stays and "\\" not in path and path.isprintable() else "/"


def _go(where: str) -> Response:
    return RedirectResponse(where, HTTPStatus.SEE_OTHER, headers=HEADERS)


def _session(request: Request) -> Session | None:
    session: Session | None = getattr(request.state, "session", None)
    return session


def _page(request: Request, way: Login, then: str, wrong: PorterError | None = None) -> Response:
    """The login page, with what went wrong if anything did."""
    session, secret = _session(request), way.secret(request) or secrets.token_urlsafe(32)
    user = session is not None and session.principal.kind == "user"
    response = render(
        request,
        "login.html",
        HTTPStatus.OK if wrong is None else status_of(wrong),
        next=then,
        begin=f"/login/oidc?{urlencode({'next': then})}" if way.issuer else "",
        issuer="" if way.issuer is None else urlsplit(way.issuer.url).hostname,
        form=derive(secret, "form"),
        claimable=user and not way.identity.has_admin(),
        message="" if wrong is None else wrong.message,
        remedy="" if wrong is None else wrong.remedy,
    )
    way.keep(response, way.cookie, secret, COOKIE_S)
    return response


def _check_form(request: Request, way: Login, form: dict[str, str]) -> None:
    """The form is ours, and of this browser. Raises Denied."""
    secret = way.secret(request)
    if not secret or not _same(form.get("form", ""), derive(secret, "form")):
        raise Denied("cannot log in: the form is not of this browser", "try once more")


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


@router.get("/login")
def login(request: Request, way: Way, next: str = "/") -> Response:
    """The page."""
    return _page(request, way, local(next))


@router.post("/login/token")
def with_token(request: Request, way: Way, form: Form) -> Response:
    """Log in with the first token."""
    then = local(form.get("next", "/"))
    try:
        _check_form(request, way, form)
        if not way.is_first(form.get("token", "")):
            log.warning("somebody tried to log in with a wrong token")
            raise Denied(
                "cannot log in: that is not the control plane's first token",
                "it is in the file api-token of its state directory",
            )
        return way.enter(request, None, then)
    except PorterError as error:
        return _page(request, way, then, error)


@router.get("/login/oidc")
def away(request: Request, way: Way, next: str = "/") -> Response:
    """Off to the issuer."""
    then = local(next)
    secret = secrets.token_urlsafe(32)
    try:
        if way.issuer is None:
            raise Denied("cannot log in so: no issuer is set", "set PORTER_OIDC_ISSUER")
        response = _go(way.issuer.authorization_url(secret))
        way.identity.begin_login(secret, then, time.time())
    except PorterError as error:
        return _page(request, way, then, error)
    way.keep(response, way.cookie, secret, COOKIE_S)
    return response


@router.get("/login/callback")
def back(request: Request, way: Way) -> Response:
    """Back from the issuer. Each login is good once."""
    answer = dict(request.query_params)
    try:
        if way.issuer is None:
            raise Denied("cannot log in so: no issuer is set", "set PORTER_OIDC_ISSUER")
        secret, then = way.secret(request), None
        if secret and _same(answer.get("state", ""), derive(secret, "state")):
            then = way.identity.finish_login(secret, time.time())
        if then is None:
            raise Denied(
                "cannot log in: this login was not begun by this browser, or is over",
                _BEGIN_AGAIN,
            )
        who = way.issuer.identify(answer, secret)
        user = way.identity.login(who.issuer, who.subject, who.name, who.email, time.time())
        if not way.identity.has_admin():
            then = f"/login?{urlencode({'next': then})}"
        return way.enter(request, user.id, then)
    except PorterError as error:
        return _page(request, way, "/", error)


@router.post("/login/claim")
def claim(request: Request, way: Way, form: Form) -> Response:
    """Make the user who is logged in administrator of everything, while there is none."""
    then = local(form.get("next", "/"))
    session = _session(request)
    try:
        if session is None or session.principal.kind != "user":
            raise Denied("cannot claim administration: nobody is logged in", "log in first")
        _check_csrf(session, request, form)
        if way.identity.has_admin():
            raise Denied("cannot claim administration: there is an administrator", "ask for a role")
        if not way.is_first(form.get("token", "")):
            log.warning("%s tried to claim administration", session.principal.id)
            raise Denied(
                "cannot claim administration: that is not the control plane's first token",
                "it is in the file api-token of its state directory",
            )
        me = session.principal.id
        way.identity.grant(me, Grant(EVERYWHERE, Role.ADMIN), me, time.time())
        return way.enter(request, me, then)
    except PorterError as error:
        return _page(request, way, then, error)


@router.post("/logout")
def logout(request: Request, way: Way, form: Form) -> Response:
    """End the session."""
    session = _session(request)
    try:
        if session is not None:
            _check_csrf(session, request, form)
            way.identity.end_session(request.cookies[SESSION])
    except PorterError as error:
        return _page(request, way, "/", error)
    response = _go("/login")
    response.delete_cookie(SESSION, secure=way.secure, httponly=True, samesite="lax")
    return response


def _check_csrf(session: Session, request: Request, form: dict[str, str]) -> None:
    given = request.headers.get("x-csrf-token") or form.get("csrf", "")
    if not _same(given, session.csrf):
        raise Denied("cannot do that: the page's CSRF token is missing or wrong", "load it again")
