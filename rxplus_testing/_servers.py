"""A real server that goes down and comes back where it was."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import socket
import sys
from types import TracebackType
from typing import Any, Self

from reactivex import Subject

from rxplus_testing._recorder import Recorder
from rxplus_testing._rxplus import Peer, Request, RxWSServer, Security, TaggedData

__all__ = ["RestartableServer"]

_HOST = "127.0.0.1"

_LIMIT = 10.0
"""Seconds after which something that has to happen will not happen any more."""


class RestartableServer:
    """An :class:`rxplus.RxWSServer` on 127.0.0.1, for clients on real sockets.

    It listens from the moment it is made, on a port that stays its own while it
    is down. Use it as a context manager, or call :meth:`close`.

    Args:
        datatype: as for ``RxWSServer``.
        **options: as for ``RxWSServer``.

    Attributes:
        port: where it listens, before and after a restart.
        received: a recorder of what peers send, over all restarts.
        joined: a recorder of the peers that join, over all restarts.
    """

    def __init__(self, datatype: Any = "string", **options: Any) -> None:
        self._options = {"datatype": datatype, **options}
        self._listening: RxWSServer | None = None
        self._received: Subject[TaggedData] = Subject()
        self._joined: Subject[Peer] = Subject()
        self.received = Recorder(self._received)
        self.joined = Recorder(self._joined)
        self._reservation, self.port = _reserve()
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def server(self) -> RxWSServer:
        """The server of this moment.

        Raises:
            RuntimeError: it is down.
        """
        if self._listening is None:
            raise RuntimeError(f"the server on port {self.port} is down: call start()")
        return self._listening

    @property
    def url(self) -> str:
        """``ws://host:port``, to which a path may be added."""
        return f"ws://{_HOST}:{self.port}"

    def conn_cfg(self, path: str = "/") -> dict[str, Any]:
        """Return what a client has to be given to connect here."""
        return {"host": _HOST, "port": self.port, "path": path}

    def start(self) -> None:
        """Listen, if it does not.

        Raises:
            rxplus.RxException: the port is taken.
        """
        if self._listening is not None:
            return
        gate = _Gate(self._options.get("security") or Security())
        options = {**self._options, "security": gate.security}
        server = RxWSServer({"host": _HOST, "port": self.port}, **options)
        server.subscribe(self._received.on_next)
        server.connections.subscribe(self._joined.on_next)
        gate.open()
        self._listening = server

    def stop(self) -> None:
        """Close the server and its connections, with 1001. Then nobody listens."""
        if self._listening is not None:
            self._listening.close(_LIMIT)
            self._listening = None

    def restart(self) -> None:
        """Stop, and listen again on the same port."""
        self.stop()
        self.start()

    def send(self, path: str, data: Any) -> None:
        """Send ``data`` to everyone on ``path``."""
        self.server.on_next(TaggedData(path, data))

    def close(self) -> None:
        """Stop for good. Closing twice is harmless."""
        self.stop()
        if self._reservation is not None:
            self._reservation.close()
        self.received.dispose()
        self.joined.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Gate:
    """Lets nobody in before somebody listens to the server: the first message would be lost.

    Args:
        security: whom to let in after that.

    Attributes:
        security: for the server.
    """

    def __init__(self, security: Security) -> None:
        self.security = dataclasses.replace(security, authenticate=self._authenticate)
        self._inner = security.authenticate
        self._is_open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def open(self) -> None:
        """Let everyone in. Another thread than the loop's."""
        self._is_open = True
        for loop, event in self._waiting:
            loop.call_soon_threadsafe(event.set)

    async def _authenticate(self, request: Request) -> Any:
        await self._opened()
        verdict: Any = True if self._inner is None else self._inner(request)
        return await verdict if inspect.isawaitable(verdict) else verdict

    async def _opened(self) -> None:
        event = asyncio.Event()
        # First to the list and then a look at the flag, and open() the other way round: so one
        # of the two sees the other.
        self._waiting.append((asyncio.get_running_loop(), event))
        if not self._is_open:
            await event.wait()


def _reserve() -> tuple[socket.socket | None, int]:
    """Find a free port, and keep others from taking it while the server is down.

    Linux lets a socket listen on a port that another one is bound to, if that
    one does not listen and both agreed; elsewhere the port is free meanwhile.
    """
    reservation = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind((_HOST, 0))
    port: int = reservation.getsockname()[1]
    if sys.platform == "linux":
        return reservation, port
    reservation.close()
    return None, port
