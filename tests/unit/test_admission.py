"""Which requests a server lets in."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxplus import Headers, Limits, Request, Security
from rxplus._core.admission import Admission, parse_basic

UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}


def refusal(
    *,
    limits: Limits | None = None,
    security: Security | None = None,
    path: str = "/",
    headers: dict[str, str] = UPGRADE,
    total: int = 0,
    from_address: int = 0,
) -> int | None:
    """Return the status that a request is refused with, or ``None``."""
    admission = Admission(limits or Limits(), security or Security())
    request = Request(path=path, headers=Headers(headers))
    response = admission.refuse(request, total=total, from_address=from_address)
    return None if response is None else response.status


def test_admission_lets_in_by_default() -> None:
    """A WebSocket request from anywhere is let in, with any origin or none."""
    assert refusal() is None
    assert refusal(headers={**UPGRADE, "Origin": "https://evil.example"}) is None


def test_admission_answers_a_browser() -> None:
    """A plain HTTP request is told what is spoken here."""
    response = Admission(Limits(), Security()).refuse(Request(path="/"), total=0, from_address=0)
    assert response is not None
    assert response.status == 426
    assert response.headers["Upgrade"] == "websocket"
    assert response.headers["Connection"] == "Upgrade"
    assert "WebSocket" in response.body


def test_admission_answers_health_checks() -> None:
    """The health path is answered with 200, also while the server is full."""
    assert refusal(path="/healthz", headers={}) == 200
    assert refusal(path="/healthz", headers={}, limits=Limits(max_connections=1), total=1) == 200
    assert refusal(path="/up", headers={}, security=Security(health_path="/up")) == 200
    assert refusal(path="/healthz", headers={}, security=Security(health_path=None)) == 426


def test_admission_health_path_is_a_path_like_others() -> None:
    """A WebSocket may be opened on the health path."""
    assert refusal(path="/healthz") is None


@pytest.mark.parametrize(("total", "status"), [(0, None), (1, None), (2, 503), (3, 503)])
def test_admission_limits_connections(total: int, status: int | None) -> None:
    """The limit is the number that may be there at once."""
    assert refusal(limits=Limits(max_connections=2), total=total) == status


@pytest.mark.parametrize(("count", "status"), [(0, None), (1, None), (2, 429), (3, 429)])
def test_admission_limits_connections_per_address(count: int, status: int | None) -> None:
    """One address may have so many and no more, whatever the others have."""
    limits = Limits(max_connections_per_address=2)
    assert refusal(limits=limits, total=1000, from_address=count) == status


def test_admission_without_limits() -> None:
    """``None`` is no limit."""
    limits = Limits(max_connections=None)
    assert refusal(limits=limits, total=10**9, from_address=10**9) is None


def test_admission_says_when_to_come_back() -> None:
    """A full server tells clients to wait."""
    admission = Admission(Limits(max_connections=1, max_connections_per_address=1), Security())
    request = Request(path="/", headers=Headers(UPGRADE))
    for total, from_address in ((1, 0), (0, 1)):
        response = admission.refuse(request, total=total, from_address=from_address)
        assert response is not None
        assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://app.example", None),
        ("https://a.example.org", None),
        ("https://app.example.evil", 403),
        ("https://a.example.org.evil", 403),
        ("http://app.example", 403),
        ("null", 403),
        (None, 403),
    ],
)
def test_admission_checks_origins(origin: str | None, status: int | None) -> None:
    """Strings and patterns must match in full; a request without origin is another matter."""
    pattern = re.compile(r"https://\w+\.example\.org")
    security = Security(origins=("https://app.example", pattern))
    headers = UPGRADE if origin is None else {**UPGRADE, "Origin": origin}
    assert refusal(security=security, headers=headers) == status


def test_admission_accepts_no_origin_when_told() -> None:
    """``None`` among the origins is what programs send, and stands for nothing else."""
    security = Security(origins=("https://app.example", None))
    assert refusal(security=security) is None
    assert refusal(security=security, headers={**UPGRADE, "Origin": "https://x"}) == 403
    assert refusal(security=security, headers={**UPGRADE, "Origin": ""}) == 403
    assert refusal(security=Security(origins=())) == 403


# ── basic ─────────────────────────────────────────────────────────────────────────────────


@given(
    user=st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":")),
    password=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_parse_basic_reads_what_was_written(user: str, password: str) -> None:
    """Any user without a colon, and any password, come back."""
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    for scheme in ("Basic", "basic", "BASIC"):
        assert parse_basic(f"{scheme} {encoded}") == (user, password)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Bearer dXNlcjpwYXNz",
        "dXNlcjpwYXNz",
        "Basic dXNlcjpwYXN",
        "Basic dXNl*jpwYXNz",
        "Basic dXNlcg==",
        "Basic /w==",
        "Basic é",
        "Basic \udcff",
    ],
)
def test_parse_basic_refuses_what_is_none(header: str) -> None:
    """Bad base64, bad UTF-8, no colon, no ASCII, another scheme: nobody is named."""
    assert parse_basic(header) is None


@given(st.text())
def test_parse_basic_never_raises(text: str) -> None:
    """Whatever a stranger sends, it is no failure of the server."""
    parse_basic(text)
    parse_basic(f"Basic {text}")


@pytest.mark.parametrize("target", ["x", "http://h/chat", "*", ""])
def test_refuses_a_target_that_is_no_path(target: str) -> None:
    """Only the origin form of a request target says which path is meant."""
    assert refusal(path=target) == 400
