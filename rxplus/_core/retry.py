"""When to connect again, and when not."""

from __future__ import annotations

import random

from rxplus.config import Retry
from rxplus.errors import CertificateError, HandshakeRejectedError, InvalidEndpointError
from rxplus.transport import CloseInfo

__all__ = ["Attempts", "heals", "is_failure", "tolerates"]

_NORMAL_CODES = frozenset({1000, 1001, 1005, 1012, 1013})
"""Ends that are no failure: done, going away, no code given, restarting, try again later."""


class Attempts:
    """Counts attempts and says how long to wait before the next.

    Args:
        policy: the user's policy, with ``initial`` filled in.
        rng: where the jitter is drawn from.
    """

    def __init__(self, policy: Retry, rng: random.Random) -> None:
        assert policy.initial is not None
        self._policy = policy
        self._rng = rng
        self._initial = self._delay = policy.initial
        self._failures = 0
        self.number = 1
        """The number of the attempt under way or next, from 1."""

    @property
    def exhausted(self) -> bool:
        """Whether as many retries have failed in a row as may."""
        return self._policy.limit is not None and self._failures > self._policy.limit

    def failed(self) -> None:
        """Count an attempt that failed."""
        # Step by step, since a power of the factor may be too large for a float.
        grown = self._delay * self._policy.factor if self._failures else self._initial
        self._delay = min(self._policy.maximum, grown)
        self._failures += 1
        self.number += 1

    def ended(self, lasted: float) -> None:
        """Count a connection that ended after ``lasted`` seconds.

        The end of a stable one is the first failure again. One that did not
        last is one more, so that a server which accepts and closes is not hammered.
        """
        if lasted >= self._policy.stable_after:
            self._failures, self.number = 0, 0
        self.failed()

    def delay(self) -> float:
        """Return how many seconds to wait before the next attempt."""
        return self._delay * (1.0 - self._policy.jitter * self._rng.random())


def heals(error: BaseException, policy: Retry) -> bool:
    """Tell whether a failed attempt is worth another one."""
    if isinstance(error, HandshakeRejectedError):
        return error.status not in policy.fatal_statuses
    return not isinstance(error, (CertificateError, InvalidEndpointError))


def tolerates(info: CloseInfo, policy: Retry) -> bool:
    """Tell whether a connection that ended this way may be opened again."""
    return info.local or info.code not in policy.fatal_codes


def is_failure(info: CloseInfo) -> bool:
    """Tell whether a connection ended for a reason that somebody should look at.

    An application's own codes (4000..4999) are as good an end as 1000.
    """
    return info.code not in _NORMAL_CODES and not 4000 <= info.code <= 4999
