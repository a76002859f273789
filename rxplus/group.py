"""RxWSClientGroup: one client per path, as one Subject of tagged values."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import count
from typing import Any, Unpack

from reactivex import Observable, abc

from rxplus._core.losses import LossReason
from rxplus._core.routing import route_of
from rxplus._core.stats import Stats
from rxplus._engine.hub import Hub
from rxplus._engine.signal import Signal
from rxplus._engine.stream import Stream
from rxplus._engine.thread_runtime import ThreadRuntime
from rxplus.client import RxWSClient
from rxplus.component import Component
from rxplus.config import ConnCfgLike, ConnConfig
from rxplus.datatypes import WSDatatype
from rxplus.errors import ComponentClosedError
from rxplus.options import ClientKwargs, ClientOptions
from rxplus.runtime import Runtime
from rxplus.server import DatatypeByPath, datatype_chooser
from rxplus.tagged import TaggedData
from rxplus.transports.named import transport_of

__all__ = ["RxWSClientGroup"]

_numbers = count(1)


class RxWSClientGroup(Component[TaggedData]):
    """Clients of one server, one per path: what they receive is merged, and tagged with the path.

    ``on_next`` sends a :class:`TaggedData` on the path that is its tag, which is
    opened when it is not open yet. All clients share one loop thread. A path
    that ends, or fails, leaves the group; the others go on.

    Args:
        conn_cfg: ``{"host": ..., "port": ...}``, without a path.
        datatype: as for a client, or a function from the path to one of these.
        conn_retry_timeout: as for a client.
        ping_interval: as for a client.
        ping_timeout: as for a client.
        name: in logs and errors; made up when ``None``.
        buffer_while_disconnected: as for a client. With ``False`` what is sent on a
            path before its connection is up is lost: see :meth:`open_path`.
        scheduler: where subscribers run; ``None`` is the loop thread.
        runtime: where the clients run; ``None`` gives the group a thread of its own.
        **options: as for a client.

    Raises:
        ValueError: an argument has a value that cannot be right.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        conn_cfg: ConnCfgLike,
        datatype: DatatypeByPath = "string",
        conn_retry_timeout: float = 0.5,
        ping_interval: float | None = 30.0,
        ping_timeout: float | None = 30.0,
        name: str | None = None,
        buffer_while_disconnected: bool = False,
        *,
        scheduler: abc.SchedulerBase | None = None,
        runtime: Runtime | None = None,
        **options: Unpack[ClientKwargs],
    ) -> None:
        given = ClientOptions.of(
            conn_retry_timeout=conn_retry_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            buffer_while_disconnected=buffer_while_disconnected,
            **options,
        )
        transport = transport_of(given.transport)
        config = _without_path(conn_cfg)
        datatype_of = datatype_chooser(datatype)
        name = name or f"RxWSClientGroup-{next(_numbers)}"
        runtime = runtime or ThreadRuntime(name)
        hub: Hub[TaggedData] = Hub(
            "group",
            name,
            runtime=runtime,
            timeouts=given.timeouts,
            limits=given.limits,
            scheduler=scheduler,
            telemetry=given.telemetry,
            redeliver=given.delivery.redeliver,
        )
        super().__init__(hub)

        # What was made and checked here, rather than what was given: each path would do it again.
        shared = vars(given) | {
            "transport": transport,
            # A thousand paths are to be one series of each metric, not a thousand.
            "telemetry": given.telemetry.under(name),
        }

        def make(path: str, datatype: WSDatatype) -> _GroupClient:
            return _GroupClient(
                ConnConfig(config.host, config.port, path),
                datatype,
                name=f"{name}{route_of(path)}",
                runtime=runtime,
                **shared,
            )

        store = given.delivery.store
        turn = nullcontext if store is None else store.transaction
        self._members = _Members(hub, make, datatype_of, given.retry_policy.maximum, turn)
        self._clients = self._members.clients
        hub.run(self._members)

    def on_next(self, value: TaggedData) -> None:
        """Send a value on the path that is its tag. Any thread.

        A path that failed for good is not opened again for ``Retry.maximum`` seconds, so that
        a server which refuses is not hammered; what is sent on it until then is reported on
        ``losses``. :meth:`open_path` opens it at once.

        Raises:
            TypeError: not a ``TaggedData``, or the datatype cannot send its data.
            ValueError: the tag is not a path, or the datatype cannot send the contents.
            BufferFullError: too much waits to be sent: see :class:`Overflow`.
            StoreError: it cannot be kept, with durable delivery.
            ComponentClosedError: the group is closed.
        """
        if not isinstance(value, TaggedData):
            raise TypeError(f"RxWSClientGroup sends TaggedData, got {type(value).__name__}")
        client = self._clients.get(value.tag) or self._members.reopen(value)
        try:
            if client is not None:
                client.on_next(value.data)
        except ComponentClosedError:
            # That client was closed in this very moment; the path can be opened again.
            self._members.drop(value.tag, client)
            self.on_next(value)

    def open_path(self, path: str) -> RxWSClient:
        """Open a path before anything is sent on it. Any thread.

        Args:
            path: may have a query, which is sent when connecting and is not part
                of the tag.

        Returns:
            The path's client: wait for it with ``wait_connected()``, close it to
            leave the path.

        Raises:
            ValueError: not a path.
            StoreError: its store cannot be read or written, with durable delivery.
            ComponentClosedError: the group is closed.
        """
        return self._ensure_client(path)

    @property
    def connection_state(self) -> Observable[TaggedData]:
        """Changes of state of every path, as ``TaggedData(path, ConnectionStatus)``."""
        return self._members.states

    def wait_connected(self, timeout: float | None = None) -> bool:
        """Wait until every path that is open now has a connection.

        Args:
            timeout: seconds, for all of them together; ``None`` waits for ever.

        Returns:
            Whether all have one.
        """
        now = self._hub.runtime.now
        deadline = None if timeout is None else now() + timeout
        clients = list(self._clients.values())
        for client in clients:
            client.wait_connected(None if deadline is None else max(0.0, deadline - now()))
        return all(client.connected for client in clients)

    def _ensure_client(self, path: str) -> RxWSClient:
        """Return the client of a path, making it if need be. Any thread."""
        return self._members.ensure(path)

    def _is_healthy(self) -> bool:
        return all(client.connected for client in list(self._clients.values()))

    def _stats(self) -> Stats:
        return self._members.totals()

    def _queued_bytes(self) -> int:
        return sum(client.queued_bytes for client in list(self._clients.values()))

    def _paths(self) -> dict[str, int]:
        clients = list(self._clients.items())
        return {path: int(client.connected) for path, client in clients}


def _without_path(conn_cfg: ConnCfgLike) -> ConnConfig:
    config = ConnConfig.of(conn_cfg, path=False)
    # A ConnConfig always has one: "/" when none was given.
    given = config.path != "/" if isinstance(conn_cfg, ConnConfig) else "path" in conn_cfg
    if given:
        raise ValueError(
            f"conn_cfg of a group has no path, got {config.path!r}: "
            "paths are opened by open_path() and on_next()"
        )
    return config


class _GroupClient(RxWSClient):
    """A client that waits to be started until its group listens to it."""

    def _begin(self) -> None:
        """Do nothing yet."""

    def start(self) -> None:
        """Begin to connect. Loop thread."""
        self._supervisor.start()

    def serve(self, audience: Hub[Any]) -> None:
        """Say whose subscribers are to be done with a message before it is acknowledged."""
        self._supervisor.serve(audience)

    def guarded(self, give: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return what gives values to the group's subscribers, on a scheduler."""
        return self._supervisor.guarded(give)

    def pause_reading(self) -> None:
        """Read nothing until the group has caught up. Loop thread."""
        self._supervisor.pause_reading()

    def resume_reading(self) -> None:
        """Read on. Loop thread."""
        self._supervisor.resume_reading()

    def begin_close(self, timeout: float) -> None:
        """Start to close. Does not wait."""
        self._hub.begin_close(timeout)

    @property
    def stats(self) -> Stats:
        """What it has counted."""
        return self._hub.stats

    @property
    def queued_bytes(self) -> int:
        """The size of what waits to be sent."""
        return self._queued_bytes()


class _Members:
    """The clients of a group, and the engine that closes them.

    It does not know the group, so that one that is dropped can be collected.
    """

    def __init__(
        self,
        hub: Hub[TaggedData],
        make: Callable[[str, WSDatatype], _GroupClient],
        datatype_of: Callable[[str], WSDatatype],
        rest: float,
        turn: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._hub = hub
        self._turn = turn
        self._make = make
        self._datatype_of = datatype_of
        self._rest = rest
        # Paths that failed for good, and when they may be opened again.
        self._resting: dict[str, float] = {}
        self._lock = hub.runtime.lock()
        self._sealed = False
        self._left = Signal()
        self._ended = Stats()
        self.clients: dict[str, _GroupClient] = {}
        # Those, and those that are closing: their path can be open again already.
        self._alive: dict[_GroupClient, None] = {}
        self.states: Stream[TaggedData] = hub.side_stream()
        hub.on_room = self._resume_reading
        hub.received = lambda: self.totals().bytes_in
        hub.seal = self._seal

    def ensure(self, path: str) -> _GroupClient:
        """Return the client of a path, making it if need be. Any thread."""
        route = route_of(path)
        client = self.clients.get(route)
        if client is not None:
            return client
        # Without the lock: it may be the user's function.
        datatype = self._datatype_of(route)
        # A client reads its store. Who is in a transaction may come here for the lock, so that
        # nobody may have the lock and wait for the store.
        with self._turn(), self._lock:
            return self.clients.get(route) or self._add(path, route, datatype)

    def _add(self, path: str, route: str, datatype: WSDatatype) -> _GroupClient:
        self._check_open()
        self._resting.pop(route, None)
        client = self._make(path, datatype)
        # Before anybody can send on it, or close the group: so the group listens first.
        self._hub.lease.call_soon(self._attach, route, client)
        self.clients[route] = client
        self._alive[client] = None
        return client

    def _seal(self) -> None:
        """Open no further paths: those that are open are closed. Any thread."""
        with self._lock:
            self._sealed = True

    def _check_open(self) -> None:
        """Raise when the group closes. The caller holds the lock."""
        if self._sealed:
            raise ComponentClosedError(f"{self._hub.name} is closed")

    def reopen(self, value: TaggedData) -> _GroupClient | None:
        """Return the client to send a value with; report it as lost if its path has just failed."""
        route = route_of(value.tag)
        with self._lock:
            resting = self._resting.get(route, 0.0) > self._hub.runtime.now()
        if not resting:
            return self.ensure(value.tag)
        self._datatype_of(route).encode(value.data)
        with self._lock:
            # As one step: what is said while the group is open is heard before it ends.
            self._check_open()
            self._hub.lease.call_soon(self._hub.lost, route, {LossReason.DISCONNECTED: 1})
        return None

    def drop(self, path: str, client: RxWSClient | None) -> None:
        """Let the path of a client that takes no more messages be opened again. Any thread."""
        route = route_of(path)
        with self._lock:
            if self.clients.get(route) is client:
                del self.clients[route]

    def totals(self) -> Stats:
        """Add up what all clients, present and past, have counted. Any thread."""
        with self._lock:
            present = list(self._alive)
            total = Stats(queue=lambda: sum(one.stats.queued_messages for one in present))
            for stats in (self._hub.stats, self._ended, *(one.stats for one in present)):
                total.add(stats)
        return total

    async def shutdown(self, timeout: float) -> None:
        for client in list(self._alive):
            client.begin_close(timeout)
        while self._alive:
            await self._left.wait()

    def _attach(self, path: str, client: _GroupClient) -> None:
        """Listen to a client, and only then let it connect. Loop thread."""
        hub = self._hub
        emit = hub.into(hub.messages.emit if hub.direct else client.guarded(hub.messages.emit))

        def deliver(value: Any) -> None:
            emit(TaggedData(path, value))
            if hub.deliver.full:
                client.pause_reading()

        client.errors.subscribe(partial(hub.deliver, hub.errors.emit))
        client.losses.subscribe(partial(hub.deliver, hub.losses.emit))
        client.connection_state.subscribe(
            lambda status: hub.deliver(self.states.emit, TaggedData(path, status))
        )
        client.subscribe(
            deliver,
            on_error=lambda error: self._end(path, client, error),
            on_completed=lambda: self._end(path, client, None),
        )
        client.serve(hub)
        client.start()

    def _end(self, path: str, client: _GroupClient, error: Exception | None) -> None:
        if error is not None:
            self._hub.report(error, f"path {path} left the group", path=path)
            self._let_rest(path)
        self.drop(path, client)
        with self._lock:
            del self._alive[client]
            self._ended.add(client.stats)
        self._left.send()

    def _let_rest(self, path: str) -> None:
        now = self._hub.runtime.now()
        with self._lock:
            still = {one: until for one, until in self._resting.items() if until > now}
            self._resting = {**still, path: now + self._rest}

    def _resume_reading(self) -> None:
        for client in list(self.clients.values()):
            client.resume_reading()
