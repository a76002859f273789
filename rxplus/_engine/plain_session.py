"""Connections without a session: what arrives is given to subscribers, and that is it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rxplus._core.outbox import Source
from rxplus._engine.hub import Hub
from rxplus._engine.session import Outlet, Session
from rxplus.datatypes import WSDatatype
from rxplus.transport import CloseInfo, Connection, Payload

__all__ = ["BatchSession", "plain_session"]


class BatchSession(Session):
    """A :class:`Session` that takes what has arrived together in one go.

    Args:
        outlet: takes what arrives.
    """

    __slots__ = ("_outlet",)

    def __init__(
        self,
        connection: Connection,
        datatype: WSDatatype,
        source: Source[Payload],
        hub: Hub[Any],
        *,
        outlet: Outlet,
        on_end: Callable[[CloseInfo], None],
    ) -> None:
        super().__init__(connection, datatype, source, hub, deliver=outlet.emit, on_end=on_end)
        self._outlet = outlet

    def on_messages(self, messages: Sequence[Payload]) -> None:
        self.take_all(messages, self._outlet)


def plain_session(
    connection: Connection,
    datatype: WSDatatype,
    source: Source[Payload],
    hub: Hub[Any],
    *,
    outlet: Outlet,
    audience: Hub[Any],
    on_end: Callable[[CloseInfo], None],
) -> Session:
    """Make the session that suits where subscribers run.

    Args:
        audience: the component that they subscribe to; a client's group, if it has one.
    """
    if audience.direct:
        return BatchSession(connection, datatype, source, hub, outlet=outlet, on_end=on_end)
    deliver = hub.into(outlet.emit)
    return Session(connection, datatype, source, hub, deliver=deliver, on_end=on_end)
