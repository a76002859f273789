"""What is used of picows beyond its documented names, and what it is told on both sides."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from picows import WSAutoPingStrategy, WSListener

__all__ = ["WSProtocol", "logger"]

if TYPE_CHECKING:
    # The library's stubs leave it out. Its connect and listen functions make it, and nothing
    # else: they do the handshake, and this one is wanted without.

    class CloseInfo(Protocol):
        """How the library closed a connection."""

        code: int
        reason: str

    class CloseHandshake(Protocol):
        """What the library knows of a close."""

        sent: CloseInfo

    class Request(Protocol):
        """What the library sent as a client."""

        headers: Mapping[str, str]

    class Transport(Protocol):
        """What the library writes to, as far as it is looked at here."""

        request: Request
        close_handshake: CloseHandshake

    class WSProtocol(asyncio.BufferedProtocol):
        """The parser."""

        transport: Transport

        def __init__(
            self,
            host_port: str,
            ws_path: str,
            is_client_side: bool,
            ws_listener_factory: Callable[..., WSListener],
            logger: logging.LoggerAdapter[logging.Logger],
            disconnect_on_exception: bool,
            websocket_handshake_timeout: float | None,
            enable_auto_ping: bool,
            auto_ping_idle_timeout: float,
            auto_ping_reply_timeout: float,
            auto_ping_strategy: WSAutoPingStrategy,
            enable_auto_pong: bool,
            max_frame_size: int,
            extra_headers: None,
            read_buffer_init_size: int,
            /,
        ) -> None: ...

        def connection_made(self, transport: object) -> None: ...

        def get_buffer(self, sizehint: int) -> memoryview: ...

else:
    from picows.picows import WSProtocol


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Logs what goes wrong in here. What peers do wrong is told by ``CloseInfo`` alone."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        super().log(level if kwargs.get("exc_info") else logging.DEBUG, msg, *args, **kwargs)


logger = _Logger(logging.getLogger("rxplus.picows"))
