"""What the library is told on both sides."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rxplus.transport import WireOptions

__all__ = ["limits", "logger", "tls_timeouts"]

NO_TIMEOUT = 1e9
"""Seconds that stand for "no limit" where asyncio takes ``None`` for its own default."""

# A logger of our own, for two reasons. An application that configures no logging must not get
# the library's records on stderr (logging.lastResort): what matters in them is raised, or is in
# CloseInfo. And one that does configure it finds them below "rxplus".
logger = logging.getLogger("rxplus.websockets")
logger.addHandler(logging.NullHandler())


def limits(options: WireOptions) -> dict[str, Any]:
    """Return the arguments that a connection of the library takes on both sides."""
    return {
        "ping_interval": options.ping_interval,
        "ping_timeout": options.ping_timeout,
        "close_timeout": options.close_timeout,
        "max_queue": None,
        "write_limit": (options.write_high_water, options.write_low_water),
    }


def tls_timeouts(options: WireOptions) -> dict[str, float]:
    """Return asyncio's limits for TLS alone, which must not be shorter than ours."""
    return {
        "ssl_handshake_timeout": options.open_timeout or NO_TIMEOUT,
        "ssl_shutdown_timeout": options.close_timeout or NO_TIMEOUT,
    }
