"""Ready-made authentication for servers."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

from rxplus._core.admission import parse_basic
from rxplus.config import Authenticator
from rxplus.handshake import Headers, Request, Response

__all__ = ["basic_auth", "bearer_auth"]


def basic_auth(
    credentials: Mapping[str, str] | Callable[[str, str], bool], *, realm: str = "rxplus"
) -> Authenticator:
    """Make an authenticator for HTTP Basic authentication (RFC 7617). Use it with TLS.

    Args:
        credentials: passwords by user, or a function of user and password that
            returns a bool; not a coroutine function.
        realm: what a browser shows.

    Returns:
        An authenticator whose user names become ``Peer.user``.
    """
    check = credentials if callable(credentials) else _password_check(credentials)
    challenge = Response(
        status=401,
        body="Not authorized.\n",
        headers=Headers([("WWW-Authenticate", f'Basic realm={_quoted(realm)}, charset="UTF-8"')]),
    )

    def authenticate(request: Request) -> str | Response:
        given = parse_basic(request.headers.get("Authorization", ""))
        if given is None:
            return challenge
        verdict: object = check(*given)
        if not isinstance(verdict, bool):
            # Such as a coroutine, which is true whatever it would have said.
            raise TypeError(f"the check of basic_auth must return a bool, got {verdict!r}")
        return given[0] if verdict else challenge

    return authenticate


def bearer_auth(check: Callable[[str], str | None]) -> Authenticator:
    """Make an authenticator for bearer tokens (RFC 6750).

    Args:
        check: takes a token; returns the user's name, or ``None`` to refuse it.
    """
    challenge = Response(
        status=401, body="Not authorized.\n", headers=Headers([("WWW-Authenticate", "Bearer")])
    )

    def authenticate(request: Request) -> str | Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        user = check(token.strip()) if scheme.lower() == "bearer" else None
        return challenge if user is None else user

    return authenticate


def _quoted(text: str) -> str:
    """Write a quoted string (RFC 9110, section 5.6.4)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _password_check(passwords: Mapping[str, str]) -> Callable[[str, str], bool]:
    known = {user: password.encode() for user, password in passwords.items()}

    def check(user: str, password: str) -> bool:
        # Compared also for a user who does not exist, so that time does not tell who does.
        matches = hmac.compare_digest(known.get(user, b""), password.encode())
        return matches and user in known

    return check
