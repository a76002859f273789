"""A server's connections: who gets in, and who is there."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from opentelemetry.trace import Span, SpanKind

from rxplus._core.admission import UNAUTHORIZED, Admission
from rxplus._core.losses import LossReason
from rxplus._core.protocol.names import NAME, asks, speaks
from rxplus._core.retry import is_failure
from rxplus._core.routing import Routes
from rxplus._engine.fanout import FanOut, Member
from rxplus._engine.hub import Hub
from rxplus._engine.posting import Post
from rxplus._engine.reception import Reception
from rxplus._engine.session import Outlet, Session
from rxplus.config import Buffer, Security
from rxplus.datatypes import WSDatatype
from rxplus.delivery import Delivery
from rxplus.errors import ConnectionClosedError
from rxplus.handshake import Request, Response
from rxplus.transport import (
    CloseInfo,
    Connection,
    Listener,
    OnConnection,
    ServerEndpoint,
    Transport,
)

__all__ = ["Acceptor"]

_UNKNOWN_PATH = Response(status=404, body="Nothing is served on this path.\n")
_BROKEN = Response(status=500, body="The request could not be checked.\n")
_UNABLE = Response(status=400, body=f"This server needs the subprotocol {NAME}.\n")

_GOING = "server is shutting down"


OnJoin: TypeAlias = Callable[[Member], Outlet]
"""Hears of a new member, before it can send; returns what takes the values it sends."""

OnLeave: TypeAlias = Callable[[Member], None]
"""Hears that a member has left."""


class Acceptor:
    """Lets peers in and sends them what is for them.

    Made in any thread; everything but the post, the fan-out's mailbox and the look-ups in
    ``routes`` is then used on the loop thread only.

    Args:
        hub: of the server.
        transport: listens.
        endpoint: where.
        datatype_of: makes the datatype of a path.
        buffer: limits of what waits for each peer, and in all.
        security: whom to let in.
        delivery: what is promised to those who can have it.
        on_join: hears of peers that join.
        on_leave: hears of peers that leave.
    """

    def __init__(
        self,
        hub: Hub[Any],
        transport: Transport,
        endpoint: ServerEndpoint,
        *,
        datatype_of: Callable[[str], WSDatatype],
        buffer: Buffer,
        security: Security,
        delivery: Delivery,
        on_join: OnJoin,
        on_leave: OnLeave,
    ) -> None:
        self._hub = hub
        self._transport = transport
        self._endpoint = endpoint
        self._security = security
        self._admission = Admission(hub.limits, security)
        self._on_join = on_join
        self._on_leave = on_leave
        self.routes: Routes[Member] = Routes(datatype_of, hub.runtime.lock())
        self.fanout = FanOut(hub, self.routes, buffer)
        store = delivery.store
        self.post = None if store is None else Post(hub, store, self.fanout)
        """What messages go through if they have to be kept; else it is the fan-out's mailbox."""
        self._delivery = delivery
        self._reception = Reception(
            hub, delivery, self.fanout, enroll=self._enroll, expel=self._expel
        )
        self._members: dict[Member, None] = {}
        self._per_address: Counter[str] = Counter()
        self._goodbye = 1001
        self._dismissals: set[asyncio.Task[None]] = set()
        self._listener: Listener | None = None
        self.port = endpoint.port
        hub.seal = self.fanout.mailbox.seal
        hub.on_room = self._on_room

    # ── engine ────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Bind and listen.

        Raises:
            OSError: the address cannot be bound.
            StoreError: the sessions in the store cannot be read.
        """
        self._reception.restore(self.routes.open)
        self._listener = await self._transport.listen(self._endpoint, self._on_request)
        self.fanout.listener = self._listener
        self.port = self._listener.port

    async def shutdown(self, timeout: float) -> None:
        if self._listener is None:
            self._reception.close()
            return
        deadline = self._hub.lease.loop.time() + timeout
        await self._listener.close()
        with suppress(TimeoutError):  # What is left is reported below.
            async with asyncio.timeout_at(deadline):
                await self.fanout.drained()
        left = max(0.0, deadline - self._hub.lease.loop.time())
        await asyncio.gather(
            self._reception.close_strangers(1001, _GOING, left),
            *(one.session.close(self._goodbye, _GOING, left) for one in self._members),
        )
        self._reception.close()
        for task in self._dismissals:
            task.cancel()
        if self._dismissals:
            await asyncio.wait(self._dismissals)
        self.fanout.discard()

    # ── who gets in ───────────────────────────────────────────────────────────────────────

    async def _on_request(self, request: Request) -> Response | OnConnection:
        refusal = self._admission.refuse(request, **self._counts(request))
        if refusal is None:
            decision = await self._admit(request)
            if not isinstance(decision, Response):
                return decision
            refusal = decision
        if request.is_upgrade:
            self._count_refusal(request, refusal)
        return refusal

    def _counts(self, request: Request) -> dict[str, int]:
        total = self._hub.stats.connections
        return {"total": total, "from_address": self._per_address[_host(request)]}

    async def _admit(self, request: Request) -> Response | OnConnection:
        try:
            user = await self._authenticate(request)
        except Exception as exc:  # noqa: BLE001 - the hook is the user's code
            self._hub.report(exc, f"authentication on {request.path} raised", path=request.path)
            return _BROKEN
        if isinstance(user, Response):
            return user
        if self._delivery.fallback == "error" and not asks(request):
            return _UNABLE
        try:
            self.routes.datatype_of(request.path)
        except Exception as exc:  # noqa: BLE001 - the callable is the user's code
            self._hub.report(exc, f"no datatype for {request.path}", path=request.path)
            return _UNKNOWN_PATH
        return partial(self._join, user)

    async def _authenticate(self, request: Request) -> str | Response | None:
        """Return who it is, ``None`` when nobody asks, or the refusal.

        Raises:
            TypeError: the hook's answer is none.
        """
        hook = self._security.authenticate
        if hook is None:
            return None
        verdict: object = hook(request)
        if inspect.isawaitable(verdict):
            verdict = await verdict
        if verdict is None or verdict is False:
            return UNAUTHORIZED
        if verdict is True:
            return ""
        if isinstance(verdict, (str, Response)) and verdict:
            return verdict
        # Such as 0, or an array's False: whatever was meant, it is not to let anybody in.
        raise TypeError(
            f"authenticate must return a name, a bool, a Response or None, got {verdict!r}"
        )

    def _count_refusal(self, request: Request, refusal: Response) -> None:
        self._hub.stats.handshake_failures += 1
        self._hub.probe.info(
            "handshake_refused",
            f"{self._hub.name} refused a connection on {request.path} with {refusal.status}",
            path=request.path,
            status=refusal.status,
            peer=request.remote_address,
        )

    # ── who is there ──────────────────────────────────────────────────────────────────────

    @property
    def members(self) -> tuple[Member, ...]:
        """Everyone who is connected now. Any thread."""
        return tuple(self._members)

    def queued_messages(self) -> int:
        """How many messages wait to be sent, to all peers. Any thread."""
        return len(self.fanout.mailbox) + sum(len(member) for member in self.members)

    def queued_bytes(self) -> int:
        """The size of those messages. Any thread."""
        return self.fanout.mailbox.bytes + sum(one.outbox.bytes for one in self.members)

    def _join(self, user: str | None, connection: Connection) -> None:
        path = connection.request.path
        if self._admission.full(**self._counts(connection.request)):
            # Decided once more: others came while this one was being checked. A server that
            # begins to close in this moment lets it in, to send it away as it does the others.
            connection.abort()
            return
        try:
            channel = self.routes.open(path)
        except Exception as exc:  # noqa: BLE001 - the callable is the user's code
            self._hub.report(exc, f"no datatype for {path}", path=path)
            connection.abort()
            return
        ended = self._begin(connection, path)
        if speaks(connection.subprotocol):
            self._reception.greet(connection, channel, user, ended)
        else:
            self._enter(self.fanout.member(connection, channel, user), ended)

    def _enter(self, member: Member, ended: Callable[[CloseInfo], None]) -> None:
        def leave(info: CloseInfo) -> None:
            ended(info)
            self.fanout.forget(member)
            self._expel(member)

        member.session = Session(
            member.connection,
            member.channel.datatype,
            member,
            self._hub,
            outlet=self._enroll(member),
            audience=self._hub,
            on_end=leave,
        )
        member.session.start(trusted=member.user is not None)

    def _enroll(self, member: Member) -> Outlet:
        """Put somebody among the members; return what takes the values it sends."""
        self._members[member] = None
        self.routes.join(member.channel.path, member)
        return self._on_join(member)

    def _expel(self, member: Member) -> None:
        del self._members[member]
        self.routes.leave(member.channel.path, member)
        self._on_leave(member)

    def _begin(self, connection: Connection, path: str) -> Callable[[CloseInfo], None]:
        """Count a connection; return what is to hear of its end."""
        self._per_address[_host(connection.request)] += 1
        span = self._hub.probe.span("rxplus.session", kind=SpanKind.SERVER, **{"url.path": path})
        self._hub.probe.debug(
            "peer_joined",
            f"{connection.remote_address} joined {path}",
            path=path,
            peer=connection.remote_address,
        )
        return partial(self._ended, connection, path, span)

    def _ended(self, connection: Connection, path: str, span: Span, info: CloseInfo) -> None:
        host = _host(connection.request)
        self._per_address[host] -= 1
        if not self._per_address[host]:
            del self._per_address[host]
        span.set_attribute("rxplus.close_code", info.code)
        span.end()
        self._hub.probe.debug(
            "peer_left",
            f"{connection.remote_address} left {path} with code {info.code}",
            path=path,
            peer=connection.remote_address,
            code=info.code,
            reason=info.reason or None,
        )
        self.routes.prune(path)
        if is_failure(info):
            error = ConnectionClosedError(info.code, info.reason)
            error.__cause__ = info.error
            self._hub.report(error, f"connection on {path} ended", path=path)

    def dismiss(self, member: Member, code: int, reason: str) -> None:
        """Send what waits for one peer, then close its connection."""
        task = self._hub.lease.loop.create_task(self._dismiss(member, code, reason))
        self._dismissals.add(task)
        task.add_done_callback(self._dismissals.discard)

    async def _dismiss(self, member: Member, code: int, reason: str) -> None:
        # What was sent to it before may still be in the mailbox.
        await self.fanout.drained()
        await member.session.close(code, reason, self._hub.timeouts.close)
        self._reception.end(member, LossReason.UNACKNOWLEDGED)

    def announce(self, after: float, spread: float) -> None:
        """Tell clients that the server is about to go, and when to come back."""
        self._goodbye = 1012
        self._reception.announce(after, spread)

    def _on_room(self) -> None:
        for member in self._members:
            member.connection.resume_reading()


def _host(request: Request) -> str:
    return request.remote_address[0] if request.remote_address else ""
