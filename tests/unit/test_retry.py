"""When to connect again, how long to wait before, and when to give up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxplus import (
    CertificateError,
    CloseInfo,
    ConnectError,
    ConnectTimeoutError,
    HandshakeRejectedError,
    InvalidEndpointError,
    Retry,
)
from rxplus._core.retry import Attempts, heals, is_failure, tolerates


def delays(policy: Retry, count: int, seed: int = 0) -> list[float]:
    """Fail so many times in a row, and return how long was waited after each."""
    attempts = Attempts(policy, random.Random(seed))
    waited = []
    for _ in range(count):
        attempts.failed()
        waited.append(attempts.delay())
    return waited


def test_delays_grow_up_to_the_cap() -> None:
    """Each delay is the factor times the one before, and never more than the maximum."""
    policy = Retry(initial=0.5, factor=2.0, maximum=3.0, jitter=0)
    assert delays(policy, 5) == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_delays_with_a_small_factor_reach_the_cap() -> None:
    """However slowly delays grow, they grow until the maximum."""
    waited = delays(Retry(initial=1.0, factor=1.01, maximum=30.0, jitter=0), 400)
    assert waited == sorted(waited)
    assert waited[-1] == 30.0


@pytest.mark.parametrize("factor", [2.0, 1e5, 1e300, float("inf")])
def test_delays_after_thousands_of_failures(factor: float) -> None:
    """A server that is away for weeks does not overflow anything."""
    assert delays(Retry(initial=1.0, factor=factor, jitter=0), 3000)[-1] == 30.0


def test_delays_of_nothing_stay_nothing() -> None:
    """No delay, however often it is multiplied, is no delay."""
    assert delays(Retry(initial=0, jitter=0), 3) == [0, 0, 0]


def test_delays_with_a_factor_of_one_stay() -> None:
    """A factor of one is a constant delay."""
    assert delays(Retry(initial=2.0, factor=1, jitter=0), 100) == [2.0] * 100


@given(jitter=st.floats(0, 1), seed=st.integers(0, 1000))
def test_jitter_takes_a_share_off(jitter: float, seed: int) -> None:
    """A delay is never longer than without jitter, and never shorter than the rest of it."""
    policy = Retry(initial=4.0, factor=1, jitter=jitter)
    for delay in delays(policy, 5, seed):
        assert 4.0 * (1 - jitter) - 1e-9 <= delay <= 4.0


def test_jitter_spreads_clients() -> None:
    """Clients that lost the same server at the same time come back at different times."""
    waited = {delays(Retry(initial=4.0), 1, seed)[0] for seed in range(50)}
    assert len(waited) == 50
    assert max(waited) - min(waited) > 1.0


def test_jitter_repeats_with_its_seed() -> None:
    """The same generator gives the same delays."""
    policy = Retry(initial=4.0)
    assert delays(policy, 5, seed=1) == delays(policy, 5, seed=1)


def test_attempts_are_numbered_from_one() -> None:
    """The number is that of the attempt under way, or next."""
    attempts = Attempts(Retry(initial=1.0), random.Random(0))
    assert attempts.number == 1
    attempts.failed()
    attempts.failed()
    assert attempts.number == 3


def test_a_stable_connection_starts_the_count_again() -> None:
    """After a connection that lasted, delay and number are those of the beginning."""
    attempts = Attempts(Retry(initial=1.0, jitter=0, stable_after=5.0), random.Random(0))
    for _ in range(4):
        attempts.failed()
    attempts.ended(lasted=5.0)
    assert (attempts.number, attempts.delay()) == (1, 1.0)
    attempts.failed()
    assert (attempts.number, attempts.delay()) == (2, 2.0)


def test_a_short_connection_does_not_start_the_count_again() -> None:
    """A server that accepts and closes is not hammered."""
    attempts = Attempts(Retry(initial=1.0, jitter=0, stable_after=5.0), random.Random(0))
    waited = []
    for _ in range(4):
        attempts.ended(lasted=4.99)
        waited.append(attempts.delay())
    assert waited == [1.0, 2.0, 4.0, 8.0]
    assert attempts.number == 5


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_exhausted_after_so_many_retries(limit: int) -> None:
    """The first attempt is no retry: ``limit`` more may fail, and then it is over."""
    attempts = Attempts(Retry(initial=1.0, limit=limit), random.Random(0))
    failed = 0
    while not attempts.exhausted:
        attempts.failed()
        failed += 1
    assert failed == limit + 1


def test_exhausted_never_without_a_limit() -> None:
    """``None`` never gives up."""
    attempts = Attempts(Retry(initial=1.0, limit=None), random.Random(0))
    for _ in range(1000):
        attempts.failed()
    assert not attempts.exhausted


def test_exhausted_counts_failures_in_a_row() -> None:
    """A stable connection in between gives all retries back."""
    attempts = Attempts(Retry(initial=1.0, limit=1), random.Random(0))
    attempts.failed()
    attempts.ended(lasted=60.0)
    assert not attempts.exhausted
    attempts.failed()
    assert attempts.exhausted


def test_limit_zero_never_reconnects() -> None:
    """With no retries even a connection that lasted for long is not opened again."""
    attempts = Attempts(Retry(initial=1.0, limit=0), random.Random(0))
    attempts.ended(lasted=3600.0)
    assert attempts.exhausted


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        (ConnectError("refused"), True),
        (ConnectTimeoutError("late"), True),
        (OSError("unreachable"), True),
        (RuntimeError("the token function raised"), True),
        (HandshakeRejectedError(503), True),
        (HandshakeRejectedError(429), True),
        (HandshakeRejectedError(404), True),
        (HandshakeRejectedError(401), False),
        (HandshakeRejectedError(403), False),
        (CertificateError("expired"), False),
        (InvalidEndpointError("bad host"), False),
    ],
)
def test_heals(error: Exception, worth: bool) -> None:
    """What cannot get better by itself is not tried again."""
    assert heals(error, Retry()) is worth


def test_heals_by_policy() -> None:
    """The policy says which statuses are final."""
    policy = Retry(fatal_statuses=frozenset({404}))
    assert not heals(HandshakeRejectedError(404), policy)
    assert heals(HandshakeRejectedError(401), policy)


@pytest.mark.parametrize(
    ("code", "again"),
    [
        *((code, True) for code in (1000, 1001, 1006, 1011, 1012, 1013, 4000)),
        *((code, False) for code in (1008, 1010)),
    ],
)
def test_tolerates(code: int, again: bool) -> None:
    """The server's close code decides; one's own end always lets one come back."""
    assert tolerates(CloseInfo(code=code), Retry()) is again
    assert tolerates(CloseInfo(code=code, local=True), Retry())


def test_tolerates_by_policy() -> None:
    """The policy says which codes are final."""
    policy = Retry(fatal_codes=frozenset({4001}))
    assert not tolerates(CloseInfo(code=4001), policy)
    assert tolerates(CloseInfo(code=1008), policy)


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        *((code, False) for code in (1000, 1001, 1005, 1012, 1013, 4000, 4999)),
        *((code, True) for code in (1002, 1006, 1008, 1009, 1011, 3999, 5000)),
    ],
)
def test_is_failure(code: int, failure: bool) -> None:
    """Ends that are nobody's fault are not reported as errors."""
    assert is_failure(CloseInfo(code=code)) is failure
