"""What the tests on real sockets are written with.

Each of their modules imports ``nothing_left``, which then watches over its tests. Those that
import ``each_transport`` run with the picows transport too.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import struct
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path
from subprocess import PIPE, Popen
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

import pytest
from reactivex import Observable
from reactivex.scheduler import EventLoopScheduler
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

from rxplus import (
    ConnectionStatus,
    Loss,
    Peer,
    Retry,
    RxWSClient,
    RxWSServer,
    TaggedData,
)
from rxplus.transports import named

T = TypeVar("T")

HOST = "127.0.0.1"

LIMIT = 20.0
"""Seconds after which something that has to happen will not happen any more."""

SOON = Retry(initial=0.001, maximum=0.01)
"""Retries for tests that wait for one."""


# ── what every test is checked for ────────────────────────────────────────────────────────


@contextlib.contextmanager
def collecting() -> Iterator[None]:
    """Collect the block's garbage at its end.

    What is older is not looked at: that takes twenty milliseconds in a process that has loaded
    pytest, longer than most tests.
    """
    gc.freeze()
    try:
        yield
        gc.collect()
    finally:
        gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that leaves a thread, a file or socket, or a complaint of asyncio behind.

    What is not closed gives a ResourceWarning, and what nobody catches an unraisable
    exception; pytest makes errors of both.
    """
    threads, files = set(threading.enumerate()), _open_files()
    with collecting():
        yield
    assert set(threading.enumerate()) - threads == set()
    assert _open_files() - files == set()
    assert [_text(record) for record in caplog.get_records("call") if _is_complaint(record)] == []


_BUSY = "Executing "
"""Debug mode tells of callbacks that take long, as on a busy machine;"""

_CHATTER = (_BUSY, "error while attempting to bind")
"""and of what is raised too."""


def complaints(stderr: str) -> str:
    """Return what a process said on stderr, but for debug mode's tales of a busy machine."""
    return "".join(one for one in stderr.splitlines(keepends=True) if not one.startswith(_BUSY))


def _is_complaint(record: logging.LogRecord) -> bool:
    """Tell whether somebody ought to have caught something: rxplus' own records are none."""
    if record.name == "asyncio":
        return record.levelno >= logging.WARNING and not record.msg.startswith(_CHATTER)
    if "internal error" in record.getMessage():
        return True
    # What reaches the loop's exception handler goes to the logger itself, not to one below it.
    return record.name == "rxplus" and record.levelno >= logging.WARNING


def _text(record: logging.LogRecord) -> str:
    return logging.Formatter().format(record)


def _open_files() -> set[str]:
    """Return what this process has open; nothing where the system does not tell."""
    found = set()
    directory = Path("/proc/self/fd")
    for entry in list(directory.iterdir()) if directory.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # the one that iterdir() itself had open
            found.add(f"{entry} {entry.readlink()}")
    return found


@pytest.fixture(autouse=True, params=["websockets", "picows"])
def each_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a module's tests with each transport, in the place of the default one."""
    monkeypatch.setattr(named, "DEFAULT", request.param)


# ── components ────────────────────────────────────────────────────────────────────────────


def serving(datatype: Any = "string", port: int = 0, **options: Any) -> RxWSServer:
    """Make a server, by default on a free port."""
    return RxWSServer({"host": HOST, "port": port}, datatype, **options)


def client_of(
    server: RxWSServer | int, path: str = "/", datatype: Any = "string", **options: Any
) -> RxWSClient:
    """Make a client of a server, or of whatever listens on a port."""
    port = server if isinstance(server, int) else server.port
    return RxWSClient({"host": HOST, "port": port, "path": path}, datatype, **options)


def listening(port: int) -> tuple[RxWSServer, Collector[TaggedData]]:
    """Start a server; whoever is first to send to it is heard, however fast that was."""
    server = serving(port=port)
    return server, Collector(server)


@contextlib.contextmanager
def joined(
    server: RxWSServer, path: str = "/", datatype: Any = "string", **options: Any
) -> Iterator[tuple[RxWSClient, Peer]]:
    """Have a client that is connected, for both sides; it is closed at the end."""
    peers = Collector(server.connections)
    with client_of(server, path, datatype, **options) as client:
        assert client.wait_connected(LIMIT)
        (peer,) = peers.wait_for_count(1)
        peers.subscription.dispose()
        yield client, peer


# ── waiting ───────────────────────────────────────────────────────────────────────────────


class Collector(Generic[T]):
    """Subscribes to a stream and keeps what comes.

    Attributes:
        values: what came, in order.
        error: what the stream failed with.
        completed: whether the stream completed.
        threads: the names of the threads that it was called on.
    """

    def __init__(self, source: Observable[T]) -> None:
        self.values: list[T] = []
        self.error: Exception | None = None
        self.completed = False
        self.threads: set[str] = set()
        self._changed = threading.Condition()
        self.subscription = source.subscribe(self._on_next, self._on_error, self._on_completed)

    def wait_until(self, condition: Callable[[list[T]], object]) -> list[T]:
        """Wait until what came meets a condition; return it."""
        with self._changed:
            met = self._changed.wait_for(lambda: condition(self.values), LIMIT)
            assert met, f"waited in vain; {len(self.values)} came, ending in {self.values[-5:]}"
            return list(self.values)

    def wait_for_at_least(self, count: int) -> list[T]:
        """Wait until so many values came; return all that did."""
        return self.wait_until(lambda values: len(values) >= count)

    def wait_for_count(self, count: int) -> list[T]:
        """Wait until so many values came, and see that there are no more than that."""
        values = self.wait_for_at_least(count)
        assert len(values) == count
        return values

    def wait_for(self, value: object) -> None:
        """Wait until a value has come."""
        self.wait_until(lambda values: value in values)

    def wait_ended(self) -> Exception | None:
        """Wait until the stream has ended; return what it failed with."""
        with self._changed:
            ended = self._changed.wait_for(lambda: self.completed or self.error, LIMIT)
            assert ended, "the stream did not end"
            return self.error

    def _on_next(self, value: T) -> None:
        with self._changed:
            self.threads.add(threading.current_thread().name)
            self.values.append(value)
            self._changed.notify_all()

    def _on_error(self, error: Exception) -> None:
        with self._changed:
            self.error = error
            self._changed.notify_all()

    def _on_completed(self) -> None:
        with self._changed:
            self.completed = True
            self._changed.notify_all()


def data_of(values: Collection[TaggedData]) -> list[Any]:
    """Return tagged values without their tags."""
    return [value.data for value in values]


def count_losses(losses: Collection[Loss]) -> dict[str, int]:
    """Add losses up by reason."""
    total: Counter[str] = Counter()
    for loss in losses:
        total[loss.reason.value] += loss.count
    return dict(total)


def attempts_of(statuses: Collection[ConnectionStatus]) -> list[tuple[str, int]]:
    """Return states with the numbers of the attempts that they belong to."""
    return [(status.state.value, status.attempt) for status in statuses]


def in_state(statuses: Collection[ConnectionStatus], state: str) -> list[ConnectionStatus]:
    """Return the statuses with a state."""
    return [status for status in statuses if status.state.value == state]


def repeat_until(condition: Callable[[], object], step: Callable[[], object]) -> None:
    """Do a step, which takes its time, again and again until a condition is met."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "repeated in vain"
        step()


@contextlib.contextmanager
def scheduling() -> Iterator[EventLoopScheduler]:
    """Give a scheduler with a thread of its own, and wait for the thread to end."""
    threads = []

    def make(target: Callable[[], None]) -> threading.Thread:
        threads.append(threading.Thread(target=target, daemon=True))
        return threads[-1]

    scheduler = EventLoopScheduler(make)
    try:
        yield scheduler
    finally:
        scheduler.dispose()
        for thread in threads:
            thread.join(LIMIT)
            assert not thread.is_alive()


@contextlib.contextmanager
def in_threads(*targets: Callable[[], None]) -> Iterator[None]:
    """Run functions on threads of their own; wait for them, and raise what they raised."""
    failures: list[BaseException] = []

    def run(target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(LIMIT)
            assert not thread.is_alive(), "a thread does not come back"
    if failures:
        raise failures[0]


# ── peers that are not ours ───────────────────────────────────────────────────────────────

Handler: TypeAlias = Callable[[ServerConnection], Awaitable[None]]


class PlainServer:
    """A server of plain ``websockets``, on a thread of its own, from entry to exit.

    Attributes:
        port: where it listens.
        accepted: how many connections its handler was called for.
    """

    def __init__(self, handler: Handler, **options: Any) -> None:
        self.port = 0
        self.accepted = 0
        self._handler = handler
        self._options = options
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._loop: asyncio.AbstractEventLoop
        self._done: asyncio.Event

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(LIMIT)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        server: Server
        async with serve(self._handle, HOST, 0, **self._options) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._listening.set()
            await self._done.wait()

    async def _handle(self, connection: ServerConnection) -> None:
        self.accepted += 1
        await self._handler(connection)


async def echo(connection: ServerConnection) -> None:
    """Send every message back."""
    async for message in connection:
        await connection.send(message)


class RawPeer:
    """A client on a bare socket, from entry to exit; it sends and reads what the test says.

    Args:
        server: to connect to.
        path: requested by :meth:`open`.
        receive_buffer: bytes that the system takes in for it, about; ``None``: as usual.
    """

    def __init__(
        self, server: RxWSServer, path: str = "/", *, receive_buffer: int | None = None
    ) -> None:
        self._path = path
        self._parser = Protocol(Side.CLIENT, max_size=None)
        self._frames: list[Frame] = []
        self._sock = socket.socket()
        if receive_buffer is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._sock.settimeout(LIMIT)
        self._sock.connect((HOST, server.port))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self, *headers: str) -> str:
        """Do the opening handshake; return the first line of the answer."""
        self.request(*headers)
        return self.answer()

    def request(self, *headers: str) -> None:
        """Ask for the connection to be opened."""
        lines = [
            f"GET {self._path} HTTP/1.1",
            f"Host: {HOST}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Version: 13",
            *headers,
        ]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def answer(self) -> str:
        """Read the answer up to the end of its headers; return its first line."""
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            byte = self._sock.recv(1)
            assert byte, f"closed after {answer!r}"
            answer += byte
        return answer.decode().partition("\r\n")[0]

    def send(self, data: bytes | Frame) -> None:
        """Send bytes as they are, or a frame."""
        self._sock.sendall(data if isinstance(data, bytes) else data.serialize(mask=True))

    def frame(self) -> Frame:
        """Read the next frame."""
        while not self._frames:
            data = self._sock.recv(2**16)
            assert data, "closed"
            self._parser.receive_data(data)
            events = self._parser.events_received()
            self._frames += [event for event in events if isinstance(event, Frame)]
        return self._frames.pop(0)

    def close_code(self) -> int:
        """Read up to the close frame; return its code."""
        while (frame := self.frame()).opcode is not Opcode.CLOSE:
            pass
        return int(Close.parse(frame.data).code)

    def read_to_end(self) -> bytes:
        """Read until the other side closes."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while more := self._sock.recv(2**20):
                data += more
        return data

    def reset(self) -> None:
        """Close with an RST, as when a process is killed with data unread."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        """Close the socket, without a closing handshake."""
        self._sock.close()


# ── other processes ───────────────────────────────────────────────────────────────────────

ROOT = Path(__file__).resolve().parents[2]


def python(script: str, *arguments: object) -> Popen[str]:
    """Start an interpreter, with warnings as errors and asyncio's debug mode, on a script."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(script)]
    return Popen(
        [*command, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        text=True,
    )
