"""asyncio's selector loop on the sockets of a simulated machine."""

from __future__ import annotations

import asyncio
from asyncio import base_events, selector_events
from collections.abc import Callable
from ssl import SSLContext
from typing import Any, Protocol, TypeVar

from rxplus_testing._sockets import ListeningSocket, StreamSocket, Watch

__all__ = ["Machine", "SocketLoop"]

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Machine(Protocol):
    """What has the sockets."""

    async def connect(self, host: str, port: int) -> StreamSocket:
        """Return an open connection.

        Raises:
            OSError: it could not be opened.
        """
        ...

    def bind(self, host: str, port: int, tls: SSLContext | None) -> ListeningSocket:
        """Listen.

        Raises:
            OSError: it is not possible.
        """
        ...

    def watches(self, fd: int) -> tuple[Watch, Watch] | None:
        """Return what watches a socket, for reading and for writing; ``None``: it is closed."""


class SocketLoop(selector_events.BaseSelectorEventLoop):
    """All of asyncio's selector loop but the selector and the sockets.

    Its transports, servers, streams and TLS are the real ones. Only names and
    addresses are dealt with here, and who is called when a socket is ready,
    which :class:`rxplus_testing._sockets.Watch` finds out.
    """

    _machine: Machine | None = None

    def __init__(self) -> None:
        # Whoever derives from this puts a selector of its own in place.
        super().__init__(_NO_SELECTOR)

    def attach(self, machine: Machine) -> None:
        """Use the sockets of ``machine``, from now on."""
        self._machine = machine

    async def create_connection(
        self,
        protocol_factory: Callable[[], P],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: Any = None,
        server_hostname: str | None = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, P]:
        """Connect, as :meth:`asyncio.loop.create_connection` says."""
        assert host is not None
        assert port is not None
        sock: Any = await self._attached().connect(host, port)
        if ssl and server_hostname is None:
            server_hostname = host
        options = {key: options[key] for key in _TLS_OPTIONS & set(options)}
        return await super().create_connection(
            protocol_factory, sock=sock, ssl=ssl, server_hostname=server_hostname, **options
        )

    async def create_server(  # type: ignore[override]  # without what sockets alone have
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: Any = None,
        start_serving: bool = True,
        **options: Any,
    ) -> asyncio.Server:
        """Listen, as :meth:`asyncio.loop.create_server` says."""
        sock: Any = self._attached().bind(host or "", port or 0, ssl)
        options = {key: options[key] for key in _TLS_OPTIONS & set(options)}
        return await super().create_server(
            protocol_factory, sock=sock, ssl=ssl, start_serving=start_serving, **options
        )

    def close(self) -> None:
        """Close the loop, which has no selector to close and nothing to wake it by."""
        base_events.BaseEventLoop.close(self)

    def _attached(self) -> Machine:
        if self._machine is None:
            raise RuntimeError("the loop has no network: make a ByteNetwork with it first")
        return self._machine

    # What asyncio's transports and servers call.

    def _add_reader(self, fd: int, callback: Callable[..., Any], *args: Any) -> asyncio.Handle:
        return self._watch(fd, 0, callback, args)

    def _add_writer(self, fd: int, callback: Callable[..., Any], *args: Any) -> asyncio.Handle:
        return self._watch(fd, 1, callback, args)

    def _remove_reader(self, fd: int) -> bool:
        return self._unwatch(fd, 0)

    def _remove_writer(self, fd: int) -> bool:
        return self._unwatch(fd, 1)

    def _watch(self, fd: int, at: int, callback: Callable[..., Any], args: Any) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, None)
        watches = self._attached().watches(fd)
        assert watches is not None, "a closed socket is watched"
        watches[at].set(handle)
        return handle

    def _unwatch(self, fd: int, at: int) -> bool:
        watches = self._attached().watches(fd)
        return watches is not None and watches[at].clear()

    def _make_self_pipe(self) -> None:
        """Make nothing: no other thread wakes the loop."""

    def _close_self_pipe(self) -> None:
        """Close nothing."""


_TLS_OPTIONS = {"ssl_handshake_timeout", "ssl_shutdown_timeout"}

_NO_SELECTOR: Any = object()
