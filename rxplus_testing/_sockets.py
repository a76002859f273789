"""Sockets of the simulated machine, as asyncio's own selector loop uses them.

They stand where the operating system's stream sockets would, one level below
asyncio's transports: so those, the ``websockets`` library and TLS run as they
are. What a system call would do is done here at once, or answered with
``BlockingIOError``; a socket on which it would work has its callback called by
the loop, as long as that is so.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeAlias

__all__ = ["Buffer", "ListeningSocket", "SocketName", "StreamEnd", "StreamSocket", "Watch"]

Buffer: TypeAlias = bytes | bytearray | memoryview
SocketName: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


class Watch:
    """Has a callback called, once a turn, as long as it would not have to wait.

    Args:
        loop: calls it.
        ready: whether it would not.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ready: Callable[[], bool]) -> None:
        self._loop = loop
        self._ready = ready
        self._handle: asyncio.Handle | None = None
        self._is_due = False

    def set(self, handle: asyncio.Handle) -> None:
        """Watch for ``handle``, instead of the one before."""
        self.clear()
        self._handle = handle
        self.check()

    def clear(self) -> bool:
        """Watch no more; tell whether it did."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()
        return handle is not None

    def check(self) -> None:
        """Look whether it has become ready."""
        if self._handle is not None and not self._is_due and self._ready():
            self._is_due = True
            self._loop.call_soon(self._call)

    def _call(self) -> None:
        self._is_due = False
        if self._handle is not None and self._ready():
            # It is what a loop does with a handle, and handles the callback's failure.
            self._handle._run()
            self.check()


class _Socket:
    """What both kinds of sockets have."""

    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        name: SocketName,
        readable: Callable[[], bool],
        writable: Callable[[], bool],
    ) -> None:
        self.family = socket.AF_INET6 if len(name) == 4 else socket.AF_INET
        self.reader = Watch(loop, readable)
        self.writer = Watch(loop, writable)
        self.closed = False
        self._fd = fd
        self._name = name

    def fileno(self) -> int:
        """Return a number of its own; -1 when it is closed."""
        return -1 if self.closed else self._fd

    def getsockname(self) -> SocketName:
        """Return the address of this side."""
        self._check_open()
        return self._name

    def setblocking(self, flag: bool) -> None:
        """Take note; it never blocks."""

    def gettimeout(self) -> float:
        """Return that it never blocks."""
        return 0.0

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Take note: there is nothing to tune here."""

    def _check_open(self) -> None:
        if self.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class StreamEnd(Protocol):
    """What a socket asks of the connection that it is one end of."""

    def take(self, data: Buffer) -> int:
        """Take as many bytes as there is room for, and return how many these were."""
        ...

    def room(self) -> bool:
        """Tell whether there is room enough to be worth a call."""
        ...

    def credit(self, size: int) -> None:
        """Hear that so many bytes were read, which makes room on the other side."""

    def finish(self) -> None:
        """Hear that nothing more will be written."""

    def reset(self) -> None:
        """Hear that the connection was dropped."""

    def leave(self) -> None:
        """Hear that this end is closed."""

    def most(self) -> int:
        """Return how many bytes may be read at once."""
        ...


class StreamSocket(_Socket):
    """One end of a connection."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        name: SocketName,
        peer: SocketName,
        end: StreamEnd,
    ) -> None:
        super().__init__(loop, fd, name, self._readable, self._writable)
        self._peer = peer
        self._end = end
        self._received = bytearray()
        self._at_eof = False
        self._finished = False
        self._error: OSError | None = None
        self._resets_on_close = False

    def __repr__(self) -> str:
        return f"<StreamSocket {self._name} to {self._peer}{' closed' * self.closed}>"

    # For asyncio.

    def getpeername(self) -> SocketName:
        """Return the address of the other side."""
        self._check_open()
        return self._peer

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Take note of ``SO_LINGER`` with a time of 0, which has :meth:`close` reset."""
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            assert isinstance(value, bytes)
            self._resets_on_close = struct.unpack("ii", value) == (1, 0)

    def recv(self, size: int) -> bytes:
        """Return up to ``size`` bytes; none at the end of the stream."""
        self._check_open()
        if self._received:
            data = bytes(self._received[: min(size, self._end.most())])
            del self._received[: len(data)]
            self._end.credit(len(data))
            return data
        self._raise_error()
        if self._at_eof:
            return b""
        raise BlockingIOError

    def recv_into(self, buffer: memoryview | bytearray) -> int:
        """Put what there is into ``buffer``, and return how much it is."""
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: Buffer) -> int:
        """Take as much of ``data`` as there is room for, and return how much that is."""
        self._check_open()
        self._raise_error()
        if self._finished:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        taken = self._end.take(data)
        if taken == 0 and len(data):
            raise BlockingIOError
        return taken

    def sendmsg(self, buffers: Iterable[Buffer]) -> int:
        """Send several buffers as one."""
        return self.send(b"".join(buffers))

    def shutdown(self, how: int) -> None:
        """End the stream in the direction away from here."""
        self._check_open()
        if not self._finished and how != socket.SHUT_RD:
            self._finished = True
            self._end.finish()

    def close(self) -> None:
        """Leave. What was taken is still sent, unless something came that nobody read."""
        if self.closed:
            return
        unread, self.closed = bool(self._received), True
        self.reader.clear()
        self.writer.clear()
        if self._error is None:
            # As the system does it (RFC 2525, section 2.17): lost data is said to be lost.
            if unread or self._resets_on_close:
                self._end.reset()
            elif not self._finished:
                self._end.finish()
        self._end.leave()

    # For the network.

    def arrive(self, data: bytes) -> None:
        """Take what came."""
        self._received += data
        self.reader.check()

    def arrive_eof(self) -> None:
        """Hear that nothing more will come."""
        self._at_eof = True
        self.reader.check()

    def fail(self, error: OSError) -> None:
        """Hear that the connection broke; what came before can still be read."""
        if self._error is None and not self.closed:
            self._error = error
            self.reader.check()
            self.writer.check()

    def _raise_error(self) -> None:
        if self._error is not None:
            # Another object each time: a traceback keeps alive what raised it.
            raise type(self._error)(*self._error.args)

    def _readable(self) -> bool:
        return bool(self._received) or self._at_eof or self._error is not None

    def _writable(self) -> bool:
        return self._error is not None or self._end.room()


class ListeningSocket(_Socket):
    """A socket that takes connections.

    Args:
        on_close: called when it is closed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        name: SocketName,
        on_close: Callable[[ListeningSocket], None],
    ) -> None:
        super().__init__(loop, fd, name, self._readable, bool)
        self._on_close = on_close
        self._waiting: deque[StreamSocket] = deque()

    def __repr__(self) -> str:
        return f"<ListeningSocket {self._name}{' closed' * self.closed}>"

    @property
    def port(self) -> int:
        """The port it is bound to."""
        return self._name[1]

    def listen(self, backlog: int) -> None:
        """Take note; it listens since it was made."""

    def dup(self) -> AbstractContextManager[ListeningSocket]:
        """Return it once more, to be closed apart."""
        return nullcontext(self)

    def accept(self) -> tuple[StreamSocket, SocketName]:
        """Return the next connection and the address of its other side."""
        self._check_open()
        if not self._waiting:
            raise BlockingIOError
        sock = self._waiting.popleft()
        return sock, sock.getpeername()

    def close(self) -> None:
        """Stop listening; connections that nobody accepted are reset."""
        if self.closed:
            return
        self.closed = True
        self.reader.clear()
        self._on_close(self)
        reset = struct.pack("ii", 1, 0)
        while self._waiting:
            sock = self._waiting.popleft()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            sock.close()

    def offer(self, sock: StreamSocket) -> None:
        """Let ``sock`` be accepted."""
        self._waiting.append(sock)
        self.reader.check()

    def _readable(self) -> bool:
        return bool(self._waiting)
