"""One end of an open connection in the memory network."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from rxplus_testing._heartbeat import Heartbeat
from rxplus_testing._link import Terminal
from rxplus_testing._rxplus import (
    Address,
    BatchReceiver,
    CloseInfo,
    ConnectionClosedError,
    Payload,
    Receiver,
    Request,
    WireOptions,
)
from rxplus_testing._wire import (
    Breach,
    Close,
    Eof,
    Item,
    Message,
    Ping,
    Pong,
    to_close,
    to_messages,
)

__all__ = ["MemoryConnection"]


class _State(enum.Enum):
    OPEN = enum.auto()
    CLOSING = enum.auto()
    CLOSED = enum.auto()


class MemoryConnection:
    """A :class:`rxplus.Connection` whose other end is in the same process.

    What arrives waits in an inbox until the receiver reads, in order, the end
    of the stream included: as over TCP, a receiver that does not read does not
    hear of a close either, nor answer a ping. Only a connection that this side
    closes reads on, to notice the end, and then drops what may not be delivered.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        terminal: Terminal,
        request: Request,
        subprotocol: str | None,
        options: WireOptions,
    ) -> None:
        self._loop = loop
        self._terminal = terminal
        self._request = request
        self._subprotocol = subprotocol
        self._options = options
        # Reading.
        self._inbox: deque[Item] = deque()
        self._receiver: Receiver | None = None
        self._paused = False
        # Writing: bytes that the peer has not taken, and whether they are too many.
        self._unread_bytes = 0
        self._read_bytes = 0
        self._congested = False
        # Ending: what a failure found here will be reported as, whether the
        # link is cut, and how it ended.
        self._state = _State.OPEN
        self._close_begun = False
        self._failure: CloseInfo | None = None
        self._broken = False
        self._close_timer: asyncio.TimerHandle | None = None
        self._info: CloseInfo | None = None
        self._ended: asyncio.Future[None] = loop.create_future()
        self._heartbeat = Heartbeat(
            loop,
            options,
            send=lambda serial: terminal.put(Ping(serial)),
            progress=self._progress,
            on_silence=self._peer_is_silent,
        )

    def __repr__(self) -> str:
        state = self._state.name.lower()
        where = f"{self._terminal.local[1]} to {self._terminal.remote[1]}"
        return f"<MemoryConnection {self._request.path} from {where}, {state}>"

    @property
    def request(self) -> Request:
        """The request that opened it."""
        return self._request

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol both sides agreed on."""
        return self._subprotocol

    @property
    def remote_address(self) -> Address | None:
        """``(host, port)`` of the other side."""
        return self._terminal.remote

    @property
    def local_address(self) -> Address | None:
        """``(host, port)`` of this side."""
        return self._terminal.local

    @property
    def writable(self) -> bool:
        """Whether it is open and the peer keeps up with reading."""
        return self._open and not self._congested

    @property
    def latency(self) -> float | None:
        """Round-trip time of the last answered ping, in seconds."""
        return self._heartbeat.latency

    # Reading.

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver to ``receiver``.

        Raises:
            RuntimeError: it was started before.
        """
        self._check_loop()
        if self._receiver is not None:
            raise RuntimeError("the connection has been started before")
        self._receiver = receiver
        if self._info is None:
            self._loop.call_soon(self._read)
        else:
            self._loop.call_soon(self._call, receiver.on_closed, self._info)

    def pause_reading(self) -> None:
        """Deliver nothing until :meth:`resume_reading`."""
        self._check_loop()
        self._paused = True

    def resume_reading(self) -> None:
        """Deliver again."""
        self._check_loop()
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._read)

    def arrive(self, item: Item) -> None:
        """Take what came over the link."""
        self._inbox.append(item)
        if not isinstance(self._receiver, BatchReceiver):
            self._read()  # so that a hold which it sets off comes before the next

    def arrived(self) -> None:
        """Read all that came together."""
        self._read()

    def _read(self) -> None:
        while self._inbox and (self._reading or self._state is _State.CLOSING):
            self._handle(self._inbox.popleft())

    @property
    def _reading(self) -> bool:
        return self._receiver is not None and not self._paused

    def _handle(self, item: Item) -> None:
        match item:
            case Message():
                self._handle_message(item)
            case Ping(serial) if self._state is _State.OPEN:
                self._terminal.put(Pong(serial))
            case Pong(serial):
                self._heartbeat.answered(serial)
            case Close(code, reason):
                self._handle_close(code, reason)
            case Breach(code, reason):
                self.fail(code, reason, ValueError(reason))
            case Eof(error):
                self._end(CloseInfo(code=1006, local=self._close_begun, error=error))
            case _:
                pass

    def _handle_message(self, message: Message) -> None:
        self._terminal.acknowledge(message.size)
        limit = self._options.max_message_size
        if self._receiver is None or self._paused or self._failure is not None:
            return
        if limit is not None and message.size > limit:
            text = f"over size limit ({message.size} > {limit} bytes)"
            self.fail(1009, text, ValueError(text))
            return
        if isinstance(self._receiver, BatchReceiver):
            messages = [message.payload, *self._take_more()]
            self._call(self._receiver.on_messages, messages, more=bool(self._inbox))
        else:
            self._call(self._receiver.on_message, message.payload)

    @property
    def _more(self) -> bool:
        """Whether what comes next is a message, and not too large."""
        limit = self._options.max_message_size
        following = self._inbox[0] if self._inbox else None
        return isinstance(following, Message) and (limit is None or following.size <= limit)

    def _take_more(self) -> Iterator[Payload]:
        while self._more:
            message = self._inbox.popleft()
            assert isinstance(message, Message)
            self._terminal.acknowledge(message.size)
            yield message.payload

    def _handle_close(self, code: int, reason: str) -> None:
        if self._state is _State.OPEN:
            self._terminal.put(Close(code, reason))
        self._end(CloseInfo(code=code, reason=reason, local=self._close_begun))

    # Writing.

    def send(self, messages: Sequence[Payload]) -> None:
        """Send messages, all or none.

        Raises:
            ConnectionClosedError: the connection is closing or closed.
            TypeError: a message is neither ``bytes`` nor ``str``.
            UnicodeEncodeError: a text that UTF-8 has no bytes for.
        """
        self.write(to_messages(messages))

    def write(self, messages: Sequence[Message]) -> None:
        """Send what :func:`to_messages` has checked."""
        self._check_loop()
        self._check_open()
        try:
            self._terminal.check_send()
        except ConnectionClosedError:
            self._broken = True
            raise
        for message in messages:
            self._terminal.put(message)
            self._unread_bytes += message.size
        if self._unread_bytes > self._options.write_high_water:
            self._congested = True

    def acknowledged(self, size: int) -> None:
        """Hear that the peer took ``size`` bytes."""
        self._unread_bytes -= size
        self._read_bytes += size
        if self._congested and self._unread_bytes <= self._options.write_low_water:
            self._congested = False
            self._loop.call_soon(self._tell_writable)

    async def ping(self) -> float:
        """Send a ping and wait for the answer.

        Raises:
            ConnectionClosedError: the connection ended first.
        """
        self._check_loop()
        self._check_open()
        return await self._heartbeat.ping()

    @property
    def _open(self) -> bool:
        return self._state is _State.OPEN and not self._broken

    def _check_loop(self) -> None:
        """Refuse whoever does not run on the loop; for a real connection it is a data race."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("a connection may be used on its own loop thread only")

    def _check_open(self) -> None:
        if not self._open:
            raise self._closed_error()

    def _closed_error(self) -> ConnectionClosedError:
        if self._info is None:
            return ConnectionClosedError()
        return ConnectionClosedError(self._info.code, self._info.reason)

    def _tell_writable(self) -> None:
        if self.writable and self._receiver is not None:
            self._call(self._receiver.on_writable)

    # Ending.

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Do the closing handshake and wait until the connection has ended.

        A reason of more than 123 bytes is cut, between two characters.

        Raises:
            ValueError: a code that may not be sent.
        """
        self._check_loop()
        self.begin_close(code, reason)
        try:
            await asyncio.shield(self._ended)
        except asyncio.CancelledError:
            self.abort()
            raise

    def begin_close(self, code: int, reason: str) -> None:
        """Send the close frame, if the connection is open."""
        if self._state is not _State.OPEN:
            return
        frame = to_close(code, reason)
        self._state = _State.CLOSING
        self._close_begun = True
        self._terminal.put(frame)
        self._loop.call_soon(self._read)
        if self._options.close_timeout is not None:
            self._close_timer = self._loop.call_later(
                self._options.close_timeout,
                self._drop,
                TimeoutError("the peer did not close in time"),
            )

    def fail(self, code: int, reason: str, error: Exception) -> None:
        """Close because of what went wrong here: nothing more is delivered."""
        if self._state is _State.OPEN:
            self._failure = CloseInfo(code=code, reason=reason, local=True, error=error)
            self.begin_close(code, reason)

    def abort(self) -> None:
        """Drop the connection at once."""
        self._check_loop()
        self._drop(None)

    def broken(self, error: Exception) -> None:
        """Hear that the link was cut; what had arrived is delivered first."""
        self._broken = True
        self.arrive(Eof(error))
        self._read()

    def _progress(self) -> int | None:
        # Who does not read may have the pong unread.
        return self._read_bytes if self._reading else None

    def _peer_is_silent(self) -> None:
        text = "keepalive ping timeout"
        self.fail(1011, text, TimeoutError(text))

    def _drop(self, error: Exception | None) -> None:
        if self._state is not _State.CLOSED:
            # What is over the high mark has not left this side's write buffer.
            self._terminal.lose_unsent(self._options.write_high_water)
            self._terminal.put(Eof(ConnectionResetError("connection reset by peer")))
            self._end(CloseInfo(code=1006, local=True, error=error))

    def _end(self, info: CloseInfo) -> None:
        self._state = _State.CLOSED
        self._info = self._failure or info
        self._inbox.clear()
        self._heartbeat.stop(self._closed_error())
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._terminal.detach()
        # Not at once: who calls abort() must not be called back from within.
        self._loop.call_soon(self._tell_closed, self._receiver, self._info)

    def _tell_closed(self, receiver: Receiver | None, info: CloseInfo) -> None:
        if receiver is not None:
            self._call(receiver.on_closed, info)
        self._ended.set_result(None)

    def _call(self, callback: Callable[..., None], *args: object, **options: object) -> None:
        """Call a receiver. It must not raise; if it does, the simulation gets to know."""
        try:
            callback(*args, **options)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
            self._loop.call_exception_handler(
                {"message": f"{callback.__qualname__} raised", "exception": error}
            )
