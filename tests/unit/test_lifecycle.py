"""The states of a connection, and which may follow which."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from rxplus import ConnectionState, ConnectionStatus
from rxplus._core.lifecycle import IllegalTransitionError, Lifecycle

CONNECTING, CONNECTED, DISCONNECTED, RECONNECTING, CLOSED = ConnectionState

PATHS: dict[ConnectionState, list[ConnectionState]] = {
    CONNECTING: [],
    CONNECTED: [CONNECTED],
    DISCONNECTED: [DISCONNECTED],
    RECONNECTING: [DISCONNECTED, RECONNECTING],
    CLOSED: [CLOSED],
}
"""How to get into each state."""

ALLOWED = {
    (CONNECTING, CONNECTED),
    (CONNECTING, DISCONNECTED),
    (CONNECTED, DISCONNECTED),
    (DISCONNECTED, RECONNECTING),
    (RECONNECTING, CONNECTED),
    (RECONNECTING, DISCONNECTED),
    *((state, CLOSED) for state in ConnectionState if state is not CLOSED),
}


def in_state(state: ConnectionState) -> Lifecycle:
    """Make a lifecycle that has come to a state."""
    lifecycle = Lifecycle()
    for step in PATHS[state]:
        lifecycle.to(step, attempt=1)
    return lifecycle


@pytest.mark.parametrize("before", ConnectionState)
@pytest.mark.parametrize("after", ConnectionState)
def test_lifecycle_transitions(before: ConnectionState, after: ConnectionState) -> None:
    """Each pair of states is allowed or refused; a refused one changes nothing."""
    lifecycle = in_state(before)
    status = lifecycle.status
    if (before, after) in ALLOWED:
        assert lifecycle.to(after, attempt=2) is lifecycle.status
        assert lifecycle.status.state is after
    else:
        with pytest.raises(IllegalTransitionError, match=f"{before} -> {after}"):
            lifecycle.to(after, attempt=2)
        assert lifecycle.status is status


def test_lifecycle_begins_by_connecting() -> None:
    """The first state is ``connecting``, at the first attempt."""
    status = Lifecycle().status
    assert status.state is CONNECTING
    assert (status.attempt, status.code, status.reason) == (1, None, "")


def test_lifecycle_tells_the_circumstances() -> None:
    """Attempt, close code and reason come with a change."""
    lifecycle = in_state(CONNECTED)
    status = lifecycle.to(DISCONNECTED, attempt=3, code=1006, reason="lost")
    assert (status.attempt, status.code, status.reason) == (3, 1006, "lost")


@pytest.mark.parametrize("state", ConnectionState)
def test_connection_status_equals_its_name(state: ConnectionState) -> None:
    """A status compares, hashes and prints as the plan's plain string."""
    status = ConnectionStatus(state, attempt=7, code=1006, reason="lost")
    assert status == state == state.value
    assert status in {state.value: 1}
    assert f"{status} {state}" == f"{state.value} {state.value}"
    assert status != "other"
    assert status != 7


def test_connection_status_shows_its_circumstances() -> None:
    """What is known is in the representation, and nothing else."""
    assert repr(ConnectionStatus(CONNECTING)) == "<connecting attempt=1>"
    status = ConnectionStatus(DISCONNECTED, attempt=2, code=1006, reason="lost")
    assert repr(status) == "<disconnected attempt=2, code=1006, reason='lost'>"


@pytest.mark.parametrize(
    "twin_of", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_connection_status_survives_copying_and_pickling(
    twin_of: Callable[[ConnectionStatus], ConnectionStatus],
) -> None:
    """A status can be put into a queue to another process, or sent on as an object."""
    status = ConnectionStatus(DISCONNECTED, attempt=2, code=1006, reason="lost")
    twin = twin_of(status)
    assert (twin, repr(twin), twin.state) == (status, repr(status), DISCONNECTED)
