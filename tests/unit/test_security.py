"""Ready-made authentication: who gets in, and how the others are told."""

from __future__ import annotations

import base64
from collections.abc import Awaitable
from typing import Any

import pytest

from rxplus import Authenticator, Headers, Request, Response, basic_auth, bearer_auth


def basic(user: str, password: str) -> str:
    """Write an ``Authorization: Basic`` header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def ask(
    authenticate: Authenticator, authorization: str | None
) -> str | bool | Response | Awaitable[str | bool | Response | None] | None:
    """Ask an authenticator about a request with this header."""
    headers = {} if authorization is None else {"authorization": authorization}
    return authenticate(Request(path="/", headers=Headers(headers)))


def challenge_of(answer: object) -> str:
    """Return the challenge of a refusal, which must be one."""
    assert isinstance(answer, Response)
    assert answer.status == 401
    return answer.headers["WWW-Authenticate"]


def test_basic_auth_lets_in_by_password() -> None:
    """The right password lets its user in, under that name."""
    authenticate = basic_auth({"ada": "secret", "bob": "p:w"})
    assert ask(authenticate, basic("ada", "secret")) == "ada"
    assert ask(authenticate, basic("bob", "p:w")) == "bob"


def test_basic_auth_compares_beyond_ascii() -> None:
    """Users and passwords are UTF-8, as the challenge says."""
    authenticate = basic_auth({"jürgen": "pässwörd"})
    assert ask(authenticate, basic("jürgen", "pässwörd")) == "jürgen"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !",
        "Basic \udcff",
        "Bearer secret",
        basic("ada", "wrong"),
        basic("ada", ""),
        basic("eve", "secret"),
        basic("", ""),
        basic("eve", ""),
        basic("ADA", "secret"),
    ],
)
def test_basic_auth_refuses(authorization: str | None) -> None:
    """Everything else is asked for credentials, an unknown user without password included."""
    answer = ask(basic_auth({"ada": "secret"}, realm="robots"), authorization)
    assert challenge_of(answer) == 'Basic realm="robots", charset="UTF-8"'


def test_basic_auth_quotes_its_realm() -> None:
    """A realm with quotes still makes a well-formed challenge."""
    answer = ask(basic_auth({}, realm='a "b" \\c'), None)
    assert challenge_of(answer) == r'Basic realm="a \"b\" \\c", charset="UTF-8"'


def test_basic_auth_takes_a_function() -> None:
    """A function of user and password decides."""
    authenticate = basic_auth(lambda user, password: password == user[::-1])
    assert ask(authenticate, basic("ada", "ada")) == "ada"
    assert ask(authenticate, basic("abc", "cba")) == "abc"
    assert challenge_of(ask(authenticate, basic("abc", "abc")))


@pytest.mark.parametrize("verdict", [1, "yes", None, object()])
def test_basic_auth_lets_nobody_in_by_accident(verdict: Any) -> None:
    """A check that returns no bool, as a coroutine function does, fails closed."""
    authenticate = basic_auth(lambda user, password: verdict)
    with pytest.raises(TypeError, match="the check of basic_auth must return a bool"):
        ask(authenticate, basic("ada", "secret"))


def test_basic_auth_copies_its_passwords() -> None:
    """Changing the mapping afterwards changes nothing."""
    passwords = {"ada": "secret"}
    authenticate = basic_auth(passwords)
    passwords["ada"] = "other"
    assert ask(authenticate, basic("ada", "secret")) == "ada"


def test_bearer_auth_lets_in_by_token() -> None:
    """A token that the check knows lets its user in; the scheme's case does not matter."""
    authenticate = bearer_auth({"t0ken": "ada"}.get)
    assert ask(authenticate, "Bearer t0ken") == "ada"
    assert ask(authenticate, "bearer  t0ken ") == "ada"


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer x", "t0ken", "Basic t0ken"])
def test_bearer_auth_refuses(authorization: str | None) -> None:
    """Everything else is asked for a token."""
    assert challenge_of(ask(bearer_auth({"t0ken": "ada"}.get), authorization)) == "Bearer"


def test_bearer_auth_asks_only_about_tokens() -> None:
    """A password is never handed to the check of tokens."""
    asked: list[str] = []

    def check(token: str) -> None:
        asked.append(token)

    ask(bearer_auth(check), "Basic secret")
    assert asked == []
