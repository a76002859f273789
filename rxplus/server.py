"""RxWSServer: a WebSocket server as a Subject of tagged values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, repeat
from typing import Any, TypeAlias, Unpack

from reactivex import Observable, abc

from rxplus._checks import check_duration
from rxplus._core.routing import Channel, route_of
from rxplus._core.sizes import payload_size
from rxplus._engine.acceptor import Acceptor
from rxplus._engine.fanout import Member, Outgoing
from rxplus._engine.hub import Hub
from rxplus._engine.session import Outlet
from rxplus._engine.stream import Stream, each
from rxplus._engine.thread_runtime import ThreadRuntime
from rxplus.component import Component
from rxplus.config import ConnCfgLike, ConnConfig
from rxplus.datatypes import DatatypeLike, WSDatatype, wsdt_factory
from rxplus.errors import RxException
from rxplus.options import ServerKwargs, ServerOptions
from rxplus.peer import Peer
from rxplus.runtime import Runtime
from rxplus.tagged import TaggedData
from rxplus.transport import ServerEndpoint
from rxplus.transports.named import transport_of

__all__ = ["DatatypeByPath", "RxWSServer", "datatype_chooser"]

DatatypeByPath: TypeAlias = DatatypeLike | Callable[[str], DatatypeLike]
"""A datatype for all paths, or a function of the path."""

_numbers = count(1)


class RxWSServer(Component[TaggedData]):
    """A WebSocket server: ``subscribe`` to what all peers send, ``on_next`` to send to a path.

    Both are :class:`TaggedData`, whose tag is the path. It listens from the
    moment it is made. The stream completes when the server is closed.

    Args:
        conn_cfg: ``{"host": ..., "port": ...}`` or a :class:`ConnConfig`; port 0
            takes a free one, see :attr:`port`. A path in it is ignored: a server
            serves every path.
        datatype: ``"string"``, ``"bytes"``, ``"object"``, ``"json"``, a
            :class:`WSDatatype`, or a function from the path to one of these; a
            path for which it raises is answered with 404.
        ping_interval: seconds between keepalive pings; ``None``: none.
        ping_timeout: seconds within which a ping must be answered; ``None``: no limit.
        name: in logs and errors; made up when ``None``.
        scheduler: where subscribers run; ``None`` is the loop thread.
        runtime: where the server runs; ``None`` gives it a thread of its own.
        **options: ``delivery`` (:class:`Delivery`, for the peers that can have it),
            ``buffer`` (:class:`Buffer`, for each peer), ``limits``
            (:class:`Limits`), ``timeouts`` (:class:`Timeouts`), ``security``
            (:class:`Security`), ``subprotocols`` (names, best first), ``tls``
            (a server-side :class:`ssl.SSLContext`), ``compression`` (``"deflate"``),
            ``telemetry`` (:class:`Telemetry`), ``transport`` (``"picows"`` or a
            :class:`Transport`).

    Raises:
        RxException: it cannot listen there; the ``OSError`` is its ``exception``.
        ValueError: an argument has a value that cannot be right.
        TypeError: an argument is of the wrong type.
        ImportError: the transport that was named is not installed.
    """

    def __init__(
        self,
        conn_cfg: ConnCfgLike,
        datatype: DatatypeByPath = "string",
        ping_interval: float | None = 30.0,
        ping_timeout: float | None = 30.0,
        name: str | None = None,
        *,
        scheduler: abc.SchedulerBase | None = None,
        runtime: Runtime | None = None,
        **options: Unpack[ServerKwargs],
    ) -> None:
        given = ServerOptions.of(ping_interval=ping_interval, ping_timeout=ping_timeout, **options)
        transport = transport_of(given.transport)
        config = ConnConfig.of(conn_cfg, path=False)
        datatype_of = datatype_chooser(datatype)
        name = name or f"RxWSServer-{next(_numbers)}"
        hub: Hub[TaggedData] = Hub(
            "server",
            name,
            runtime=runtime or ThreadRuntime(name),
            timeouts=given.timeouts,
            limits=given.limits,
            scheduler=scheduler,
            telemetry=given.telemetry,
            redeliver=given.delivery.redeliver,
        )
        super().__init__(hub)
        self._peers = _Peers(hub)
        self._acceptor = Acceptor(
            hub,
            transport,
            ServerEndpoint(
                host=config.host,
                port=config.port,
                tls=given.tls,
                subprotocols=given.understood,
                options=given.wire,
            ),
            datatype_of=datatype_of,
            buffer=given.buffer,
            security=given.security,
            delivery=given.delivery,
            on_join=self._peers.join,
            on_leave=self._peers.leave,
        )
        self._peers.acceptor = self._acceptor
        self._routes = self._acceptor.routes
        self._put = self._acceptor.fanout.mailbox.put
        self._post = self._acceptor.post
        hub.stats.queue = self._acceptor.queued_messages
        hub.run(self._acceptor)
        self._open(config)

    def _open(self, config: ConnConfig) -> None:
        try:
            self._hub.call(self._acceptor.open, "the constructor")
        except BaseException as exc:
            self._close(0.0, None)
            if isinstance(exc, OSError):
                where = f"cannot listen on {config.host} port {config.port}"
                raise RxException(exc, self.name, where) from exc
            raise

    def on_next(self, value: TaggedData) -> None:
        """Send a value to everyone on the path that is its tag. Any thread.

        With nobody there it is reported on ``losses``.

        Raises:
            TypeError: not a ``TaggedData``, or the datatype cannot send its data.
            ValueError: the datatype cannot send the contents.
            BufferFullError: too much waits to be sent: see :class:`Overflow`.
            StoreError: it cannot be kept, with durable delivery.
            ComponentClosedError: the server is closed.
        """
        if not isinstance(value, TaggedData):
            raise TypeError(f"RxWSServer sends TaggedData, got {type(value).__name__}")
        path = route_of(value.tag)
        payload = self._routes.datatype_of(path).encode(value.data)
        size = payload_size(payload)
        if self._post is None:
            self._put(Outgoing(path, payload), size)
        else:
            self._post.send(path, payload, size)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._acceptor.port

    @property
    def connections(self) -> Observable[Peer]:
        """Peers, each as it joins and before anything it sends is delivered."""
        return self._peers.joined

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The peers that are connected now."""
        return self._peers.present

    def announce_restart(self, after: float, *, spread: float = 5.0) -> None:
        """Tell clients that the server is about to go, and when to come back. Then close it.

        Clients with a session come back after ``after`` seconds and up to ``spread`` more,
        each at another time.

        Args:
            after: seconds until the first may come back.
            spread: seconds over which they are spread.

        Raises:
            ValueError: negative, infinite or not a number.
        """
        check_duration("after", after, optional=False)
        check_duration("spread", spread, optional=False)
        self._hub.lease.call_soon(self._acceptor.announce, after, spread)

    def _get_path_channels(self, path: str) -> Channel[Member]:
        """Return the one channel of a path, making it if need be. Any thread."""
        return self._routes.open(path)

    def _queued_bytes(self) -> int:
        return self._acceptor.queued_bytes()

    def _paths(self) -> dict[str, int]:
        return {channel.path: len(channel.members) for channel in self._routes}


_NO_MORE: Iterator[Any] = iter(())


class _PeerOutlet:
    """Gives what a peer sends to those who listen to it, and to those who listen to all.

    Each value goes to both before the next: whoever listens to both relies on it.
    """

    __slots__ = ("_all", "_hub", "_late", "_own", "_path", "_rest")

    def __init__(self, path: str, own: Stream[Any], hub: Hub[TaggedData]) -> None:
        self._path = path
        self._own = own
        self._hub = hub
        self._all = hub.messages
        # Of values that arrived together, what has not been given to anybody yet, and what is
        # to be given to both since somebody has subscribed to the peer meanwhile.
        self._rest: Iterator[Any] = _NO_MORE
        self._late: tuple[Any, ...] = ()

    def attach(self, observer: abc.ObserverBase[Any]) -> abc.DisposableBase:
        """Subscribe to the peer. Any thread."""
        kept = self._own.keeps
        subscription = self._own.attach(observer)
        # From another thread it comes before or after the batch, not within: two threads would
        # take from it, and mix up its order.
        if not kept and self._hub.lease.in_loop():
            self._late = (*self._late, *self._rest)
        return subscription

    def emit(self, value: Any) -> None:
        try:
            self._own.emit(value)
        finally:
            self._all.emit(TaggedData(self._path, value))

    def emit_all(self, values: Sequence[Any]) -> None:
        if self._own.observed:
            each(self.emit, values)
            return
        if self._own.keeps:
            self._own.emit_all(values)  # for who subscribes first
        self._rest = iter(values)
        try:
            self._all.emit_all(_tagged(self._path, self._rest))
        finally:
            self._rest = _NO_MORE
            if self._late:
                late, self._late = self._late, ()
                each(self.emit, late)


def _tagged(path: str, values: Iterable[Any]) -> Iterable[TaggedData]:
    """Tag values, in less than half the time that the constructor takes."""
    return map(tuple.__new__, repeat(TaggedData), zip(repeat(path), values))


class _Peers:
    """The peers of a server, by member: what its acceptor tells of them, as Rx."""

    def __init__(self, hub: Hub[TaggedData]) -> None:
        self._hub = hub
        self.acceptor: Acceptor
        self.joined: Stream[Peer] = hub.side_stream(keep=True)
        self._by_member: dict[Member, tuple[Peer, Stream[Any]]] = {}

    @property
    def present(self) -> tuple[Peer, ...]:
        return tuple(peer for peer, _ in list(self._by_member.values()))

    def join(self, member: Member) -> Outlet:
        # Who has not been told of the peer yet has had no chance to subscribe to it.
        messages: Stream[Any] = self._hub.inbound(keep=self.joined.keeps)
        outlet = _PeerOutlet(member.channel.path, messages, self._hub)
        peer = Peer(self.acceptor, self._hub, member, outlet.attach)
        self._by_member[member] = (peer, messages)
        self._hub.deliver(self.joined.emit, peer)
        return outlet

    def leave(self, member: Member) -> None:
        messages = self._by_member.pop(member)[1]
        self._hub.deliver(messages.finish, None)


def datatype_chooser(datatype: DatatypeByPath) -> Callable[[str], WSDatatype]:
    """Make the function from a path to its datatype.

    Raises:
        ValueError: the datatype is not supported.
    """
    if callable(datatype) and not isinstance(datatype, (type, WSDatatype)):
        choose = datatype
        return lambda path: wsdt_factory(choose(path))
    fixed = wsdt_factory(datatype)
    return lambda _: fixed
