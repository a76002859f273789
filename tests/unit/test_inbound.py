"""Reading frames: whole messages the short way, everything else through the library."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol

from rxplus.transport import CloseInfo, Payload, Receiver
from rxplus.transports.picows.frames import Frames
from rxplus.transports.websockets.buffered import BufferedReads, feed
from rxplus.transports.websockets.frames import apply_mask
from rxplus.transports.websockets.inbound import MOST_KEPT
from rxplus.transports.websockets.memory import MOST_LENT, MOST_PIECES, Memory, memory_of
from rxplus.transports.websockets.partial import LargeMessage
from rxplus.transports.websockets.reading import frame_end, whole_messages
from rxplus.transports.websockets.wire import Wire

LIMIT = 70_000
"""Bytes of the largest message, here."""


MASK = b"\x37\xfa\x21\x3d"
"""Of all masked frames: RFC 6455's own example."""


def frame(
    opcode: Opcode, data: bytes, *, mask: bool = True, fin: bool = True, key: bytes = MASK
) -> bytes:
    """Return a frame."""
    bare = Frame(opcode, data, fin).serialize(mask=False)
    if not mask:
        return bare
    head = bytearray(bare[: len(bare) - len(data)])
    head[1] |= 0x80
    return bytes(head) + key + apply_mask(data, key)


def text(words: str, *, mask: bool = True, fin: bool = True) -> bytes:
    """Return a text frame, complete unless it is a fragment."""
    return frame(Opcode.TEXT, words.encode(), mask=mask, fin=fin)


def binary(size: int, *, mask: bool = True) -> bytes:
    """Return a binary frame of some size."""
    return frame(Opcode.BINARY, bytes(size), mask=mask)


def read(data: bytes, *, masked: bool = True, limit: int = LIMIT) -> tuple[list[Payload], int]:
    """Read from the start."""
    return whole_messages(data, 0, masked=masked, limit=limit)


# ── whole messages ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_whole_messages_reads_every_form_of_length(size: int, masked: bool) -> None:
    """Lengths of 1, 2 and 8 bytes, with and without a mask."""
    data = binary(size, mask=masked) + text("x" * size, mask=masked)
    assert read(data, masked=masked) == ([bytes(size), "x" * size], len(data))


@pytest.mark.parametrize("size", [3, 126, 65_536])
def test_whole_messages_waits_for_the_last_byte(size: int) -> None:
    """However much of a frame is missing, it stays where it is."""
    first, second = text("first"), binary(size)
    for there in {0, 1, 2, 3, 5, 8, len(second) - size, len(second) - 1}:
        assert read(first + second[:there]) == (["first"], len(first))


ODD = {
    "ping": frame(Opcode.PING, b"p"),
    "close": frame(Opcode.CLOSE, b""),
    "continuation": frame(Opcode.CONT, b"c"),
    "fragment": text("begun", fin=False),
    "reserved bit": text("odd").replace(b"\x81", b"\xc1", 1),
    "not UTF-8": frame(Opcode.TEXT, b"\xff"),
    "too large": binary(LIMIT + 1),
    "no mask": binary(3, mask=False),
    "no mask, 2 bytes": binary(300, mask=False),
    "no mask, 8 bytes": binary(70_000, mask=False),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_whole_messages_stops_at_everything_else(odd: bytes) -> None:
    """What is not a whole, valid message is left alone, and what follows it."""
    first = text("first")
    assert read(first + odd + text("last")) == (["first"], len(first))


@given(st.binary(max_size=40), st.booleans())
def test_whole_messages_survives_any_bytes(data: bytes, masked: bool) -> None:
    """Nothing that arrives can make it raise, or read past the end."""
    _, end = read(data, masked=masked)
    assert 0 <= end <= len(data)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frame_end_is_where_the_frame_ends(size: int, mask: bool) -> None:
    """As soon as the head is there; before, it is past what is there."""
    frame = binary(size, mask=mask)
    head = len(frame) - size
    for there in range(head, min(head + 3, len(frame))):
        assert frame_end(b"--" + frame[:there], 2) == 2 + len(frame)
    for there in range(head):
        assert frame_end(b"--" + frame[:there], 2) == 2 + there + 1


# ── the short way and the library's, compared ─────────────────────────────────────────────


class FakeSocket:
    """Has the options that picows asks for."""

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Do nothing."""

    def getsockopt(self, level: int, option: int) -> int:
        return 0

    def fileno(self) -> int:
        return -1


class FakeTransport(asyncio.Transport):
    """Writes into a list."""

    def __init__(self) -> None:
        super().__init__({"socket": FakeSocket()})
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written.append(bytes(data))

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""


class LibraryWire(Wire):
    """A wire that has the library read everything."""

    @property
    def plain(self) -> bool:
        return False


class PicowsWire(Wire):
    """A wire that has picows read."""

    def start(self, receiver: Receiver) -> None:
        super().start(receiver)
        self.transport.set_protocol(Frames(self))


class Recorder:
    """A receiver that keeps what it hears."""

    def __init__(self) -> None:
        self.messages: list[Payload] = []
        self.info: CloseInfo | None = None

    def on_message(self, message: Payload) -> None:
        self.messages.append(message)

    def on_writable(self) -> None:
        """Do nothing."""

    def on_closed(self, info: CloseInfo) -> None:
        self.info = info


async def opened(
    kind: type[Wire] = Wire, side: Any = SERVER, recorder: Recorder | None = None, **options: Any
) -> tuple[Wire, Recorder]:
    """Open a connection."""
    wire, recorder = kind(Protocol(side, **options), ping_interval=None), recorder or Recorder()
    wire.connection_made(FakeTransport())
    wire.start(recorder)
    await asyncio.sleep(0)
    return wire, recorder


def read_by(wire: Wire, data: bytes) -> None:
    """Have bytes arrive as they do from a socket."""
    protocol = wire.transport.get_protocol()
    assert isinstance(protocol, BufferedReads | Frames)
    feed(protocol, data)


async def outcome(
    kind: type[Wire], chunks: Iterable[bytes], *, side: Any = SERVER, eof: bool = True
) -> tuple[list[Payload], list[bytes], tuple[int, bool, type[BaseException | None]]]:
    """Feed an open connection; return what arrived, what it wrote, and how it ended."""
    wire, recorder = await opened(kind, side, max_size=LIMIT)
    for chunk in chunks:
        read_by(wire, chunk)
    if eof:
        wire.eof_received()
    wire.connection_lost(None)
    await asyncio.sleep(0)
    assert recorder.info is not None
    # What broke it is told apart by its type: the words differ where bytes were kept back.
    info = recorder.info
    assert isinstance(wire.transport, FakeTransport)
    return recorder.messages, wire.transport.written, (info.code, info.local, type(info.error))


def end_early(wire: Wire, end: str) -> None:
    """End a connection in the middle of something, by one of its methods."""
    match end:
        case "fail":
            wire.fail(CloseCode.INTERNAL_ERROR, "late", TimeoutError())
        case "abort":
            wire.abort()
        case _:
            wire.connection_lost(None)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut data at some places."""
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(at)]


FRAMES = st.one_of(
    st.text(max_size=200).map(text),
    st.just(text("y" * LIMIT)),
    st.sampled_from([0, 125, 126, 65_535, 65_536, LIMIT]).map(binary),
    st.text(max_size=20).map(lambda words: text(words, fin=False)),
    st.booleans().map(lambda fin: frame(Opcode.CONT, b"abc", fin=fin)),
    st.binary(max_size=125).map(lambda data: frame(Opcode.PING, data)),
)
# Frames of which the rest never comes.
CUT_SHORT = [
    text("y" * LIMIT)[:-3],
    text("y" * LIMIT, fin=False)[:-3],
    text("unfinished")[:-3],
    binary(MOST_KEPT)[:-3],
    b"\x81",
]
ENDS = st.sampled_from(
    [
        *CUT_SHORT,
        b"",
        # Nothing counts after a close frame.
        frame(Opcode.CLOSE, b"\x03\xe8bye") + text("late"),
        frame(Opcode.TEXT, b"\xff\xfe"),
        frame(Opcode.TEXT, bytes(LIMIT - 1) + b"\xff") + text("late"),
        binary(LIMIT + 1),
        binary(3, mask=False),
        binary(LIMIT, mask=False),
        text("rsv").replace(b"\x81", b"\xc1", 1),
    ]
)


@given(
    st.lists(FRAMES, max_size=8),
    ENDS,
    st.lists(st.integers(0, 2**20), max_size=12),
)
def test_inbound_does_what_the_library_does(
    frames: list[bytes], end: bytes, places: list[int]
) -> None:
    """Whatever arrives, in whatever pieces: the same messages, answers and end."""
    chunks = cut(b"".join((*frames, end)), places)
    ours = asyncio.run(outcome(Wire, chunks))
    assert ours == asyncio.run(outcome(LibraryWire, chunks))


@example([text("0", fin=False)], text("y" * LIMIT)[:-3], [])
@given(
    st.lists(FRAMES, max_size=8),
    ENDS,
    st.lists(st.integers(0, 2**20), max_size=12),
)
def test_picows_does_what_the_library_does(
    frames: list[bytes], end: bytes, places: list[int]
) -> None:
    """Whichever frames a read brings whole, and whichever began in the one before.

    What picows refuses it refuses in other words. What makes a message in fragments too large it
    refuses once that has come in full, and the library by its head.
    """
    chunks = cut(b"".join((*frames, end)), places)
    messages, _, (code, local, _) = asyncio.run(outcome(PicowsWire, chunks))
    expected, _, (its_code, its_local, _) = asyncio.run(outcome(LibraryWire, chunks))
    if its_code == CloseCode.MESSAGE_TOO_BIG and end in CUT_SHORT:
        # What has not come in full has not come at all.
        whole = [b"".join(frames)]
        expected, _, (its_code, its_local, _) = asyncio.run(outcome(LibraryWire, whole))
    assert (messages, code, local) == (expected, its_code, its_local)


@pytest.mark.parametrize("kind", [Wire, PicowsWire, LibraryWire])
def test_fragments_are_too_large_together(kind: type[Wire]) -> None:
    """Each of them is small enough, and the last one has come in full."""
    data = text("0", fin=False) + frame(Opcode.CONT, b"y" * LIMIT)
    messages, _, (code, local, _) = asyncio.run(outcome(kind, [data]))
    assert (messages, code, local) == ([], CloseCode.MESSAGE_TOO_BIG, True)


def test_inbound_reads_byte_by_byte() -> None:
    """However small the pieces are."""
    data = text("one") + frame(Opcode.PING, b"p") + binary(130) + text("two")
    messages, written, _ = asyncio.run(outcome(Wire, [bytes((byte,)) for byte in data]))
    assert messages == ["one", bytes(130), "two"]
    assert written == [b"\x8a\x01p"]


@pytest.mark.parametrize("mask", [True, False])
def test_inbound_reads_a_large_message_wherever_it_is_cut(mask: bool) -> None:
    """In its head, right after it, and just before its end."""
    data = binary(LIMIT, mask=mask)
    side = SERVER if mask else CLIENT
    for place in (*range(1, 17), len(data) - 1):
        pieces = [text("before", mask=mask) + data[:place], data[place:] + text("after", mask=mask)]
        messages, _, _ = asyncio.run(outcome(Wire, pieces, side=side))
        assert messages == ["before", bytes(LIMIT), "after"]


@pytest.mark.parametrize("key", [MASK, b"\x80\x80\x80\x80", b"\x81\x80\x81\x80"])
@pytest.mark.parametrize("place", range(1, 7))
def test_inbound_waits_for_a_head_that_is_longer_than_messages_may_be(
    place: int, key: bytes
) -> None:
    """The limit is on messages, not on what comes with them, even if a mask looks like a head."""

    async def check() -> None:
        wire, recorder = await opened(max_size=1)
        data = frame(Opcode.BINARY, bytes(1), key=key)
        for piece in (data[:place], data[place:], data):
            read_by(wire, piece)
        assert recorder.messages == [bytes(1)] * 2
        wire.connection_lost(None)

    asyncio.run(check())


def test_inbound_refuses_a_large_message_without_a_mask() -> None:
    """As any other, also when it comes in pieces."""
    data = binary(LIMIT, mask=False)
    messages, _, (code, local, _) = asyncio.run(outcome(Wire, [data[:-9], data[-9:]]))
    assert (messages, code, local) == ([], 1002, True)


def test_connections_of_a_loop_share_a_buffer() -> None:
    """Whatever of a frame waits for the rest is not in it any more."""

    async def check() -> memoryview:
        connections = [await opened() for _ in range(2)]
        datas = [
            text(letter * 20) + binary(MOST_KEPT + size) + text(letter * 300)
            for letter, size in (("a", 1), ("b", 2))
        ]
        for at in range(0, len(datas[0]) + 1, 7_001):
            for (wire, _), data in zip(connections, datas, strict=True):
                read_by(wire, data[at : at + 7_001])
        for (_, recorder), letter, size in zip(connections, "ab", (1, 2), strict=True):
            assert recorder.messages == [letter * 20, bytes(MOST_KEPT + size), letter * 300]
        first, second = (BufferedReads(wire).get_buffer(-1) for wire, _ in connections)
        assert first.obj is second.obj
        return first

    assert asyncio.run(check()).obj is not asyncio.run(check()).obj


def lendable(memory: Memory) -> int:
    """Count the pieces that a loop's memory can lend, all different."""
    pieces = list(iter(lambda: memory.borrow(1), None))
    assert len({id(piece.obj) for piece in pieces}) == len(pieces)
    for piece in pieces:
        memory.give_back(piece)
    return len(pieces)


@pytest.mark.parametrize("size", [MOST_LENT - 1, MOST_LENT, MOST_LENT + 1])
def test_large_messages_do_not_get_mixed_up(size: int) -> None:
    """More arrive at the same time than the loop has pieces of memory for, one after the other."""

    async def check() -> None:
        connections = [await opened(max_size=size) for _ in range(MOST_PIECES + 2)]
        for letters in (b"abcdef", b"ghijkl"):
            messages = [bytes([letter]) * size for letter in letters]
            datas = [frame(Opcode.BINARY, message) for message in messages]
            for at in range(0, size + 20, 2**18):
                for (wire, _), data in zip(connections, datas, strict=True):
                    read_by(wire, data[at : at + 2**18])
            for (_, recorder), message in zip(connections, messages, strict=True):
                assert recorder.messages.pop() == message
        assert lendable(memory_of(asyncio.get_running_loop())) == MOST_PIECES

    asyncio.run(check())


def test_memory_lends_no_more_than_a_piece() -> None:
    """What is larger does not fit."""
    memory = Memory()
    piece = memory.borrow(MOST_LENT)
    assert piece is not None
    assert len(piece) == MOST_LENT
    assert memory.borrow(MOST_LENT + 1) is None
    assert lendable(memory) == MOST_PIECES - 1


def test_large_message_gives_its_memory_back_once() -> None:
    """Twice, and two others would be put together in the same place."""
    memory = Memory()
    message = LargeMessage(0x82, MASK, LIMIT, memory)
    message.let_go()
    message.let_go()
    assert lendable(memory) == MOST_PIECES


@pytest.mark.parametrize("end", ["fail", "abort", "connection_lost", "bad text"])
def test_large_message_that_comes_to_nothing_gives_its_memory_back(end: str) -> None:
    """As often as that happens."""

    async def check() -> None:
        for _ in range(MOST_PIECES + 1):
            wire, recorder = await opened()
            data = frame(Opcode.TEXT, b"\xff" * LIMIT)
            read_by(wire, data[:-9])
            if end == "bad text":
                read_by(wire, data[-9:])
            else:
                end_early(wire, end)
            assert recorder.messages == []
        assert lendable(memory_of(asyncio.get_running_loop())) == MOST_PIECES

    asyncio.run(check())


def test_keepalive_waits_for_who_has_only_just_started() -> None:
    """What came before the start, the pong behind it, has not been read when it is due."""

    async def check() -> None:
        wire = Wire(Protocol(SERVER), ping_interval=60.0, ping_timeout=60.0)
        wire.connection_made(FakeTransport())
        wire._keepalive()
        ((pong, _),) = wire.pending_pings.values()
        pong.add_done_callback(asyncio.Future.exception)  # it never comes
        wire.start(Recorder())
        wire._overdue(pong)
        assert wire.is_open
        wire._overdue(pong)
        assert not wire.is_open
        wire.connection_lost(None)

    asyncio.run(check())


@pytest.mark.parametrize("kind", [Wire, PicowsWire])
def test_who_read_for_a_connection_lets_it_go_when_it_ends(kind: type[Wire]) -> None:
    """TLS layers go on to refer to it, and the connection's transport to the TLS layer."""

    async def check() -> None:
        wire, _ = await opened(kind)
        transport = wire.transport
        protocol = transport.get_protocol()
        assert isinstance(protocol, BufferedReads | Frames)
        gone: list[Callable[[], object]] = [weakref.ref(wire), weakref.ref(transport)]
        # An end without a close frame is kept by websockets as an error, whose traceback refers to
        # the connection (on Python 3.12).
        read_by(wire, ODD["close"])
        protocol.connection_lost(None)
        await asyncio.sleep(0)
        gc.disable()
        try:
            del wire, transport
            assert [one() is None for one in gone] == [True, True]
        finally:
            gc.enable()

    asyncio.run(check())


@pytest.mark.parametrize("end", ["fail", "abort", "connection_lost"])
@pytest.mark.parametrize("size", [300, MOST_KEPT + 300])
def test_inbound_keeps_nothing_of_a_frame_that_will_not_end(end: str, size: int) -> None:
    """A connection may be held on to for long after its end; what still comes is void."""

    async def check() -> None:
        wire, recorder = await opened()
        data = binary(size)
        read_by(wire, data[:-90])
        end_early(wire, end)
        if end != "connection_lost":
            read_by(wire, data[-90:-9])
        assert (wire._rest, wire._large) == (b"", None)
        assert recorder.messages == []
        assert not wire.protocol.reader.buffer

    asyncio.run(check())


def test_inbound_delivers_a_large_text_once() -> None:
    """Whatever its receiver raises."""

    class Raising(Recorder):
        def on_message(self, message: Payload) -> None:
            super().on_message(message)
            if len(self.messages) == 1:
                str(b"\xff", "utf-8")

    async def check() -> None:
        wire, recorder = await opened(recorder=Raising())
        data = text("y" * LIMIT)
        read_by(wire, data[:-9])
        with pytest.raises(UnicodeDecodeError):
            read_by(wire, data[-9:])
        assert recorder.messages == ["y" * LIMIT]

    asyncio.run(check())


def test_inbound_on_a_client_takes_frames_without_a_mask() -> None:
    """A server's frames have none."""
    data = text("one", mask=False) + binary(200, mask=False) + text("x" * LIMIT, mask=False)
    pieces = [data[:-2], data[-2:]]
    messages, _, _ = asyncio.run(outcome(Wire, pieces, side=CLIENT))
    assert messages == ["one", bytes(200), "x" * LIMIT]


@pytest.mark.parametrize("size", [300, MOST_KEPT + 300])
def test_inbound_does_not_keep_a_message_that_is_too_large(size: int) -> None:
    """Its head is enough to fail the connection, whatever it announces."""

    async def check() -> None:
        wire = Wire(Protocol(SERVER, max_size=100), ping_interval=None)
        transport = FakeTransport()
        wire.connection_made(transport)
        wire.data_received(text("first") + binary(size)[:20])
        assert transport.written[0][2:4] == (1009).to_bytes(2, "big")
        wire.connection_lost(None)

    asyncio.run(check())


def test_inbound_has_read_all_before_its_buffer_is_used_again() -> None:
    """Whoever is told of the end of a large message may have other things read to it."""

    class Reusing(Recorder):
        def on_message(self, message: Payload) -> None:
            super().on_message(message)
            reads = memory_of(asyncio.get_running_loop()).reads
            reads[:] = bytes(len(reads))

    async def check() -> None:
        wire, recorder = await opened(recorder=Reusing())
        data = binary(LIMIT)
        read_by(wire, data[:-5])
        read_by(wire, data[-5:] + text("one") + text("two"))
        assert recorder.messages == [bytes(LIMIT), "one", "two"]
        wire.connection_lost(None)

    asyncio.run(check())


def test_inbound_comes_in_step_where_the_library_begins_a_frame() -> None:
    """A frame that came with the handshake is the library's, to its end."""

    async def check() -> None:
        wire, recorder = await opened()
        first = text("first")
        wire.protocol.receive_data(first[:7])
        wire.data_received(first[7:])
        wire.data_received(text("second"))
        assert recorder.messages == ["first", "second"]
        wire.connection_lost(None)

    asyncio.run(check())


@pytest.mark.parametrize("valid", [True, False])
def test_inbound_finishes_a_large_message_after_it_began_to_close(valid: bool) -> None:
    """The rest of its frame is no new frame, though the library reads by then."""

    async def check() -> None:
        wire, recorder = await opened(max_size=LIMIT)
        data = frame(Opcode.TEXT, b"y" * (LIMIT - 1) + (b"y" if valid else b"\xff"))
        read_by(wire, data[:-9])
        wire.begin_close(1000, "")
        read_by(wire, data[-9:] + frame(Opcode.CLOSE, b"\x03\xe8"))
        wire.connection_lost(None)
        await asyncio.sleep(0)
        assert recorder.messages == ["y" * LIMIT] * valid
        assert recorder.info is not None
        assert recorder.info.code == (1000 if valid else 1007)

    asyncio.run(check())


def test_inbound_without_a_limit_reads_on() -> None:
    """No limit is no limit."""

    async def check() -> None:
        wire, recorder = await opened(max_size=None)
        wire.data_received(binary(LIMIT + 1))
        assert [len(message) for message in recorder.messages] == [LIMIT + 1]
        wire.connection_lost(None)

    asyncio.run(check())


def test_inbound_drops_what_came_with_a_message_that_ended_it() -> None:
    """What came together with the message that made the receiver abort is void."""

    class Aborting(Recorder):
        wire: Wire

        def on_message(self, message: Payload) -> None:
            super().on_message(message)
            self.wire.abort()

    async def check() -> list[Payload]:
        recorder = Aborting()
        wire, _ = await opened(recorder=recorder)
        recorder.wire = wire
        wire.data_received(text("first") + text("second"))
        wire.connection_lost(None)
        return recorder.messages

    assert asyncio.run(check()) == ["first"]


class Batches(Recorder):
    """A receiver that shows what came in one call, and whether more was to come."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[list[int], bool]] = []
        """The sizes, of what is not empty."""

    def on_messages(self, messages: list[Payload], *, more: bool) -> None:
        sizes = [len(message) for message in messages if message]
        if sizes:
            self.calls.append((sizes, more))


def batches_of(kind: type[Wire], *reads: bytes) -> list[tuple[list[int], bool]]:
    """Have bytes arrive on an open connection; return what came in one call."""

    async def calls() -> list[tuple[list[int], bool]]:
        batches = Batches()
        wire, _ = await opened(kind, recorder=batches)
        for data in reads:
            read_by(wire, data)
        wire.connection_lost(None)
        return batches.calls

    return asyncio.run(calls())


IN_BETWEEN = {
    "ping": frame(Opcode.PING, b"p"),
    "fragments": text("", fin=False) + frame(Opcode.CONT, b""),
}


@pytest.mark.parametrize("between", IN_BETWEEN.values(), ids=IN_BETWEEN)
@pytest.mark.parametrize("kind", [Wire, PicowsWire])
def test_batches_tell_whether_more_has_arrived(kind: type[Wire], between: bytes) -> None:
    """Answers to all of a read are to go out together, and at once."""
    data = text("1") + text("12") + between + text("123") + text("1234")[:-1]
    assert batches_of(kind, data) == [([1, 2], True), ([3], False)]


@pytest.mark.parametrize("kind", [Wire, PicowsWire])
def test_batches_are_not_the_last_before_what_is_refused(kind: type[Wire]) -> None:
    """It ends the connection, so there is nothing to hurry for."""
    assert batches_of(kind, text("1") + binary(3, mask=False)) == [([1], True)]


AFTER_LARGE: dict[str, tuple[bytes, list[tuple[list[int], bool]]]] = {
    "nothing": (b"", [([LIMIT], False)]),
    "message": (text("1"), [([LIMIT], True), ([1], False)]),
    "ping": (frame(Opcode.PING, b"p") + text("1"), [([LIMIT], True), ([1], False)]),
    "beginning": (text("1")[:-1], [([LIMIT], False)]),
}


@pytest.mark.parametrize(("rest", "calls"), AFTER_LARGE.values(), ids=AFTER_LARGE)
def test_batches_tell_what_has_arrived_after_a_large_message(
    rest: bytes, calls: list[tuple[list[int], bool]]
) -> None:
    """Its end comes in the middle of a read like that of any other."""
    data = binary(LIMIT)
    assert batches_of(Wire, data[:-5], data[-5:] + rest) == calls


def test_batches_of_what_the_library_reads_are_never_known_to_be_the_last() -> None:
    """It shows one message after the other."""
    assert batches_of(LibraryWire, text("1") + text("12")) == [([1], True), ([2], True)]
