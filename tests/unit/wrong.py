"""Transports that are wrong in one way each, made of the memory transport, which is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from rxplus import (
    Address,
    BatchReceiver,
    ClientEndpoint,
    CloseInfo,
    ConnectError,
    Connection,
    ConnectionClosedError,
    HandshakeRejectedError,
    Headers,
    Listener,
    OnConnection,
    OnRequest,
    Payload,
    Receiver,
    Request,
    Response,
    ServerEndpoint,
    Transport,
)

M = TypeVar("M", bound="Mouth")


class Ear:
    """A receiver that passes on what it hears."""

    def __init__(self, connection: Mouth, receiver: Receiver) -> None:
        self.connection = connection
        self.receiver = receiver

    def on_message(self, message: Payload) -> None:
        self.receiver.on_message(message)

    def on_writable(self) -> None:
        self.receiver.on_writable()

    def on_closed(self, info: CloseInfo) -> None:
        self.receiver.on_closed(info)


class Mouth:
    """A connection that passes on what it is told."""

    ear: type[Ear] = Ear

    def __init__(self, inner: Connection) -> None:
        self.inner = inner

    @property
    def request(self) -> Request:
        return self.inner.request

    @property
    def subprotocol(self) -> str | None:
        return self.inner.subprotocol

    @property
    def remote_address(self) -> Address | None:
        return self.inner.remote_address

    @property
    def local_address(self) -> Address | None:
        return self.inner.local_address

    @property
    def writable(self) -> bool:
        return self.inner.writable

    @property
    def latency(self) -> float | None:
        return self.inner.latency

    def start(self, receiver: Receiver) -> None:
        self.inner.start(self.ear(self, receiver))

    def send(self, messages: Sequence[Payload]) -> None:
        self.inner.send(messages)

    def pause_reading(self) -> None:
        self.inner.pause_reading()

    def resume_reading(self) -> None:
        self.inner.resume_reading()

    async def ping(self) -> float:
        return await self.inner.ping()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.inner.close(code, reason)

    def abort(self) -> None:
        self.inner.abort()


class Door:
    """A listener that passes on what it is told."""

    def __init__(self, inner: Listener) -> None:
        self.inner = inner

    @property
    def port(self) -> int:
        return self.inner.port

    def broadcast(self, connections: Iterable[Connection], messages: Sequence[Payload]) -> None:
        self.inner.broadcast([bare(connection) for connection in connections], messages)

    async def close(self) -> None:
        await self.inner.close()


def bare(connection: Connection) -> Connection:
    """Return what is behind a connection."""
    assert isinstance(connection, Mouth)
    return connection.inner


class Right:
    """A transport that passes on what it is told, and so is right."""

    mouth: type[Mouth] = Mouth
    door: type[Door] = Door

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    def client(self, endpoint: ClientEndpoint) -> ClientEndpoint:
        """Return where to connect to, and how."""
        return endpoint

    def server(self, endpoint: ServerEndpoint) -> ServerEndpoint:
        """Return where to listen, and how."""
        return endpoint

    def seen(self, request: Request) -> Request:
        """Return the request as the server sees it."""
        return request

    def guarded(self, take_over: OnConnection) -> OnConnection:
        """Return who takes a connection over on the server."""
        return lambda connection: take_over(self.mouth(connection))

    async def connect(self, endpoint: ClientEndpoint) -> Connection:
        return self.mouth(await self.inner.connect(self.client(endpoint)))

    async def listen(self, endpoint: ServerEndpoint, on_request: OnRequest) -> Listener:
        async def decide(request: Request) -> Response | OnConnection:
            decision = await on_request(self.seen(request))
            return decision if isinstance(decision, Response) else self.guarded(decision)

        return self.door(await self.inner.listen(self.server(endpoint), decide))


class Trial(NamedTuple):
    """A wrong transport, the case that it must fail, and what that raises."""

    transport: type[Right]
    case: str
    raises: type[Exception]


TRIALS: dict[str, Trial] = {}


def wrong(
    case: str, raises: type[Exception] = AssertionError
) -> Callable[[type[Right]], type[Right]]:
    """Enter a transport. Only one that raises what it should not has that let out of the case."""

    def enter(cls: type[Right]) -> type[Right]:
        TRIALS[cls.__name__] = Trial(cls, f"test_{case}", raises)
        return cls

    return enter


def wrong_mouth(
    case: str, raises: type[Exception] = AssertionError
) -> Callable[[type[M]], type[M]]:
    """Enter a transport with connections of this class."""

    def enter(cls: type[M]) -> type[M]:
        wrong(case, raises)(type(cls.__name__, (Right,), {"mouth": cls}))
        return cls

    return enter


def wrong_ear(case: str) -> Callable[[type[Ear]], type[Ear]]:
    """Enter a transport whose connections tell their receivers through this class."""

    def enter(cls: type[Ear]) -> type[Ear]:
        wrong_mouth(case)(type(cls.__name__, (Mouth,), {"ear": cls}))
        return cls

    return enter


def wrong_door(
    case: str, raises: type[Exception] = AssertionError
) -> Callable[[type[Door]], type[Door]]:
    """Enter a transport with listeners of this class."""

    def enter(cls: type[Door]) -> type[Door]:
        wrong(case, raises)(type(cls.__name__, (Right,), {"door": cls}))
        return cls

    return enter


# What is sent.


@wrong_mouth("data_order_1000")
class Reorders(Mouth):
    def send(self, messages: Sequence[Payload]) -> None:
        self.inner.send(messages[::-1])


@wrong_mouth("concurrency_batch_is_in_order")
class TextFirst(Mouth):
    def send(self, messages: Sequence[Payload]) -> None:
        self.inner.send(sorted(messages, key=lambda message: isinstance(message, bytes)))


@wrong_mouth("data_bad_type_typeerror")
class SendsInPart(Mouth):
    def send(self, messages: Sequence[Payload]) -> None:
        for message in messages:
            self.inner.send([message])


@wrong_mouth("data_mutable_buffer_is_refused")
class TakesMutableBuffers(Mouth):
    def send(self, messages: Sequence[Payload]) -> None:
        self.inner.send([m if isinstance(m, str) else bytes(m) for m in messages])


@wrong_mouth("data_message_1mib")
class Splits(Mouth):
    def send(self, messages: Sequence[Payload]) -> None:
        size = 2**16
        for message in messages:
            self.inner.send([message[at : at + size] for at in range(0, len(message) or 1, size)])


@wrong_mouth("data_empty_message_delivered")
class LosesEmptyMessages(Mouth):
    def send(self, messages: Sequence[Payload]) -> None:
        self.inner.send([message for message in messages if message])


@wrong_mouth("close_send_after_close_raises")
class SendsIntoTheVoid(Mouth):
    def send(self, messages: Sequence[Payload]) -> None:
        try:
            self.inner.send(messages)
        except ConnectionClosedError:
            pass


@wrong_mouth("concurrency_foreign_thread_use_raises")
class HidesForeignThreads(Mouth):
    def abort(self) -> None:
        try:
            self.inner.abort()
        except RuntimeError:
            pass


class _Attentive(Mouth):
    def start(self, receiver: Receiver) -> None:
        super().start(receiver)
        self.receiver = receiver

    def hear(self, messages: Sequence[Payload]) -> None:
        for message in messages:
            self.receiver.on_message(message)


@wrong_mouth("concurrency_sending_tells_nobody")
class HearsItselfAtOnce(_Attentive):
    def send(self, messages: Sequence[Payload]) -> None:
        super().send(messages)
        self.hear(messages)


class _Echoing(Door):
    def broadcast(self, connections: Iterable[Connection], messages: Sequence[Payload]) -> None:
        super().broadcast(connections := list(connections), messages)
        for connection in connections:
            assert isinstance(connection, _Attentive)
            connection.hear(messages)


@wrong("concurrency_sending_tells_nobody")
class HearsBroadcastsAtOnce(Right):
    mouth = _Attentive
    door = _Echoing


# What is heard.


@wrong_ear("data_in_batches_is_the_same")
class GivesBatchesTwice(Ear):
    def on_message(self, message: Payload) -> None:
        if isinstance(self.receiver, BatchReceiver):
            self.receiver.on_messages([message, message], more=False)
        else:
            self.receiver.on_message(message)


@wrong_ear("data_full_duplex")
class Duplicates(Ear):
    def on_message(self, message: Payload) -> None:
        self.receiver.on_message(message)
        self.receiver.on_message(message)


@wrong_ear("data_text_bytes_types_preserved")
class TextIsBytes(Ear):
    def on_message(self, message: Payload) -> None:
        self.receiver.on_message(message.encode() if isinstance(message, str) else message)


@wrong_ear("close_idempotent")
class ClosesTwice(Ear):
    def on_closed(self, info: CloseInfo) -> None:
        self.receiver.on_closed(info)
        self.receiver.on_closed(info)


@wrong_ear("close_app_codes_pass")
class SwallowsCodes(Ear):
    def on_closed(self, info: CloseInfo) -> None:
        self.receiver.on_closed(replace(info, code=min(info.code, 3999)))


@wrong_ear("close_code_and_reason_both_sides")
class NeverKnowsWhoClosed(Ear):
    def on_closed(self, info: CloseInfo) -> None:
        self.receiver.on_closed(replace(info, local=False))


@wrong_ear("close_abort_is_1006")
class HidesWhatBroke(Ear):
    def on_closed(self, info: CloseInfo) -> None:
        self.receiver.on_closed(replace(info, error=None))


@wrong_ear("backpressure_drained_is_signalled")
class NeverWritableAgain(Ear):
    def on_writable(self) -> None:
        pass


@wrong_ear("close_local_close_wakes_reader")
class ForgetsOwnCloses(Ear):
    def on_closed(self, info: CloseInfo) -> None:
        if not info.local:
            self.receiver.on_closed(info)


# Reading.


@wrong_mouth("backpressure_pause_reading_stops_delivery")
class IgnoresPauses(Mouth):
    def pause_reading(self) -> None:
        pass


@wrong_mouth("backpressure_pause_during_resume")
class NeverPausesAgain(Mouth):
    resumed = False

    def pause_reading(self) -> None:
        if not self.resumed:
            self.inner.pause_reading()

    def resume_reading(self) -> None:
        self.resumed = True
        self.inner.resume_reading()


class Hoarder(Ear):
    """Hears on while its connection is paused, and keeps it all."""

    def on_message(self, message: Payload) -> None:
        assert isinstance(self.connection, ReadsWithoutBound)
        self.connection.kept.append(message)
        self.connection.pass_on()


@wrong_mouth("backpressure_receive_is_bounded")
class ReadsWithoutBound(Mouth):
    ear = Hoarder

    def __init__(self, inner: Connection) -> None:
        super().__init__(inner)
        self.kept: list[Payload] = []
        self.paused = False
        self.started: Receiver | None = None

    def start(self, receiver: Receiver) -> None:
        self.started = receiver
        super().start(receiver)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        asyncio.get_running_loop().call_soon(self.pass_on)

    def pass_on(self) -> None:
        while self.kept and not self.paused and self.started is not None:
            self.started.on_message(self.kept.pop(0))


# Ending.


@wrong_mouth("close_queued_before_close_delivered")
class LosesOnClose(Mouth):
    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.inner.abort()
        await self.inner.close(code, reason)


@wrong_mouth("close_cancelled_close_still_closes")
class ClosesRegardless(Mouth):
    async def close(self, code: int = 1000, reason: str = "") -> None:
        closing = asyncio.ensure_future(self.inner.close(code, reason))
        await asyncio.shield(closing)


@wrong_mouth("close_reason_too_long_is_cut", raises=ValueError)
class RefusesLongReasons(Mouth):
    async def close(self, code: int = 1000, reason: str = "") -> None:
        if len(reason.encode()) > 123:
            raise ValueError("too long")
        await self.inner.close(code, reason)


@wrong_mouth("close_partial_message_dropped_on_abort")
class AbortsGently(Mouth):
    def abort(self) -> None:
        self.closing = asyncio.ensure_future(self.inner.close())


@wrong("close_timeout_bounds_silent_peer")
class ClosesWithoutLimit(Right):
    def client(self, endpoint: ClientEndpoint) -> ClientEndpoint:
        return replace(endpoint, options=replace(endpoint.options, close_timeout=None))


@wrong("close_handler_error_1011")
class GoesOnAfterABadTakeover(Right):
    def guarded(self, take_over: OnConnection) -> OnConnection:
        def take(connection: Connection) -> None:
            try:
                take_over(self.mouth(connection))
            except LookupError:
                pass

        return take


# Connecting, liveness, and the server.


@wrong("connect_handshake_timeout")
class IgnoresTheOpenTimeout(Right):
    def client(self, endpoint: ClientEndpoint) -> ClientEndpoint:
        return replace(endpoint, options=replace(endpoint.options, open_timeout=None))


@wrong("connect_path_query_headers_reach_server")
class LosesHeaders(Right):
    def client(self, endpoint: ClientEndpoint) -> ClientEndpoint:
        return replace(endpoint, headers=Headers(dict(endpoint.headers)))


@wrong("connect_path_query_headers_reach_server")
class MixesPathAndQuery(Right):
    def seen(self, request: Request) -> Request:
        return replace(request, path=f"{request.path}?{request.query}")


@wrong("connect_reject_status_surfaces")
class HidesTheStatus(Right):
    async def connect(self, endpoint: ClientEndpoint) -> Connection:
        try:
            return await super().connect(endpoint)
        except HandshakeRejectedError as exc:
            raise ConnectError(str(exc)) from exc


@wrong("connect_failing_on_request_is_500")
class TellsThePeerWhatFailed(Right):
    async def listen(self, endpoint: ServerEndpoint, on_request: OnRequest) -> Listener:
        async def decide(request: Request) -> Response | OnConnection:
            try:
                return await on_request(request)
            except LookupError as exc:
                return Response(status=500, body=str(exc))

        return await super().listen(endpoint, decide)


@wrong_door("connect_ephemeral_port_reported")
class TellsThePortThatWasAskedFor(Door):
    @property
    def port(self) -> int:
        return 0


@wrong("connect_subprotocol_choice")
class PrefersTheClientsChoice(Right):
    def server(self, endpoint: ServerEndpoint) -> ServerEndpoint:
        return replace(endpoint, subprotocols=endpoint.subprotocols[::-1])


@wrong("connect_cancel_leaves_nothing")
class ConnectsRegardless(Right):
    async def connect(self, endpoint: ClientEndpoint) -> Connection:
        return await asyncio.shield(asyncio.ensure_future(super().connect(endpoint)))


@wrong("data_over_max_size_1009")
class IgnoresTheSizeLimit(Right):
    def server(self, endpoint: ServerEndpoint) -> ServerEndpoint:
        return replace(endpoint, options=replace(endpoint.options, max_message_size=None))


@wrong("data_max_size_boundary_ok")
class CountsOneTooMany(Right):
    def server(self, endpoint: ServerEndpoint) -> ServerEndpoint:
        limit = endpoint.options.max_message_size
        size = None if limit is None else limit - 1
        return replace(endpoint, options=replace(endpoint.options, max_message_size=size))


@wrong("liveness_keepalive_timeout_sends_1011")
class SendsNoPings(Right):
    def client(self, endpoint: ClientEndpoint) -> ClientEndpoint:
        return replace(endpoint, options=replace(endpoint.options, ping_interval=None))


@wrong_mouth("liveness_latency_reported")
class NeverKnowsTheLatency(Mouth):
    @property
    def latency(self) -> float | None:
        return None


@wrong_mouth("server_nothing_left_running")
class LeaksATask(Mouth):
    def __init__(self, inner: Connection) -> None:
        super().__init__(inner)
        self.task = asyncio.ensure_future(asyncio.sleep(3600))


@wrong_door("server_restart_same_port", raises=OSError)
class KeepsItsPort(Door):
    async def close(self) -> None:
        pass


@wrong_door("broadcast_reaches_open_connections")
class SkipsTheLast(Door):
    def broadcast(self, connections: Iterable[Connection], messages: Sequence[Payload]) -> None:
        super().broadcast(list(connections)[:-1], messages)


@wrong_door("broadcast_reaches_open_connections")
class StopsAtAClosedConnection(Door):
    def broadcast(self, connections: Iterable[Connection], messages: Sequence[Payload]) -> None:
        for connection in connections:
            if not connection.writable:
                return
            connection.send(messages)


@wrong_door("broadcast_encodes_once")
class EncodesForEach(Door):
    def broadcast(self, connections: Iterable[Connection], messages: Sequence[Payload]) -> None:
        for connection in connections:
            super().broadcast([connection], messages)
