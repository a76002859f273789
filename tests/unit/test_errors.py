"""The exception tree: what is caught by what, what is said, and what survives copying."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

import rxplus.errors
from rxplus import (
    BufferFullError,
    CertificateError,
    ComponentClosedError,
    ConnectError,
    ConnectionClosedError,
    ConnectTimeoutError,
    DecodeError,
    HandshakeRejectedError,
    InvalidEndpointError,
    RxException,
    RxPlusError,
    TransportError,
    UnsafePickleWarning,
    WouldDeadlockError,
)


def test_errors_docstring_prints_the_tree() -> None:
    """The tree that users read in the module's docstring is the tree that there is."""
    assert rxplus.errors.__doc__ is not None
    parents: list[tuple[int, type]] = []
    seen = set()
    for line in rxplus.errors.__doc__.splitlines():
        found = re.match(r"^(?P<branch>[ │├└─]*)(?P<name>\w+Error|RxException)\b", line)
        if found is None:
            continue
        depth, kind = len(found["branch"]), getattr(rxplus.errors, found["name"])
        parents = [(at, parent) for at, parent in parents if at < depth]
        assert kind.__bases__[0] is (parents[-1][1] if parents else Exception), line
        parents.append((depth, kind))
        seen.add(kind)
    exceptions = [getattr(rxplus.errors, name) for name in rxplus.errors.__all__]
    assert seen == {one for one in exceptions if issubclass(one, RxPlusError)}


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (ComponentClosedError, RuntimeError),
        (WouldDeadlockError, RuntimeError),
        (ConnectTimeoutError, TimeoutError),
        (UnsafePickleWarning, UserWarning),
    ],
)
def test_errors_are_what_python_calls_them(kind: type[Exception], builtin: type[Exception]) -> None:
    """Code that knows only Python's own names catches these too."""
    assert issubclass(kind, builtin)


def test_rx_exception_says_where_and_what() -> None:
    """``str()`` is the plan's: source, note, exception."""
    cause = ValueError("boom")
    error = RxException(cause, "RxWSClient-1", "cannot connect")
    assert str(error) == "<RxWSClient-1> cannot connect: boom"
    assert (error.exception, error.source, error.note) == (cause, "RxWSClient-1", "cannot connect")
    assert error.__cause__ is cause


def test_rx_exception_takes_keywords_and_defaults() -> None:
    """Source and note may be left out or named."""
    assert str(RxException(ValueError("boom"))) == "<> : boom"
    assert str(RxException(ValueError("boom"), note="n", source="s")) == "<s> n: boom"


def test_connection_closed_error_says_code_and_reason() -> None:
    """What is known of the end is in the message."""
    assert str(ConnectionClosedError()) == "connection is closing"
    assert str(ConnectionClosedError(reason="lost")) == "lost"
    assert str(ConnectionClosedError(1006)) == "connection closed with code 1006"
    assert str(ConnectionClosedError(1001, "bye")) == "connection closed with code 1001: bye"


def test_handshake_rejected_error_says_status_and_body() -> None:
    """The status, and what the server said if it said anything."""
    start = "server rejected the WebSocket handshake with HTTP "
    assert str(HandshakeRejectedError(401, " Not you.\n")) == f"{start}401: Not you."
    assert str(HandshakeRejectedError(502, " \n")) == f"{start}502"
    assert str(HandshakeRejectedError(502)) == f"{start}502"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionClosedError(1001, "bye"),
        HandshakeRejectedError(401, "no"),
        BufferFullError("full"),
        CertificateError("expired"),
        ConnectError("refused"),
        ConnectTimeoutError("late"),
        DecodeError("bad"),
        InvalidEndpointError("where?"),
        TransportError("broken"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_copying_and_pickling(error: Exception) -> None:
    """An error can be handed to another process and says the same there."""
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_rx_exception_survives_pickling() -> None:
    """The failure inside comes along, and is still the cause."""
    twin = pickle.loads(pickle.dumps(RxException(ConnectionClosedError(1001, "bye"), "s", "n")))
    assert str(twin) == "<s> n: connection closed with code 1001: bye"
    assert isinstance(twin.exception, ConnectionClosedError)
    assert twin.__cause__ is twin.exception
