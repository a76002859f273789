"""What a component promises about the messages it sends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from rxplus._checks import check_count, check_duration, check_instance
from rxplus.store import Store

__all__ = ["Delivery", "Level"]


class Level(StrEnum):
    """How much is promised. Each compares equal to its name as a string."""

    AT_MOST_ONCE = "at_most_once"
    BUFFERED = "buffered"
    ACKNOWLEDGED = "acknowledged"
    DURABLE = "durable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What is promised about messages, and what that may cost. Use the class methods to make one.

    Args:
        level: see the class methods.
        max_messages: most messages that are on their way: sent and not acknowledged. With
            more, sending waits, and what is sent meanwhile fills the :class:`Buffer`.
        max_bytes: the same in bytes.
        max_age: seconds that a message may be on its way; ``None`` for ever. Age is looked at
            when a connection opens: older ones are given up then, and reported by both sides. A
            store has a limit of its own.
        expiry: seconds that a session outlives its connection. Of the two sides' values the
            smaller one counts.
        ack_messages: acknowledge after so many messages,
        ack_bytes: or so many characters and bytes of them,
        ack_delay: or so many seconds, whichever comes first.
        redeliver: how often a message is given again to a subscriber that raised, before the
            next message.
        resend_lost: whether messages of a session that was lost are sent again in the next
            one. Some of them may have arrived before, and arrive twice then. Otherwise they are
            reported on ``losses``.
        fallback: what becomes of a peer that cannot do it: ``"error"`` or ``"at_most_once"``.
            ``None`` is ``"error"`` for a client, and ``"at_most_once"`` for a server.
        store: what survives the process.
    """

    level: Level = Level.AT_MOST_ONCE
    max_messages: int = 65_536
    max_bytes: int = 64 * 2**20
    max_age: float | None = None
    expiry: float = 120.0
    ack_messages: int = 256
    ack_bytes: int = 256 * 2**10
    ack_delay: float = 0.05
    redeliver: int = 0
    resend_lost: bool = False
    fallback: Literal["error", "at_most_once"] | None = None
    store: Store | None = None

    def __post_init__(self) -> None:
        check_instance("Delivery.level", self.level, Level, "a Level")
        for key in ("max_messages", "max_bytes", "ack_messages", "ack_bytes"):
            check_count(f"Delivery.{key}", getattr(self, key))
        check_count("Delivery.redeliver", self.redeliver, least=0)
        check_duration("Delivery.max_age", self.max_age)
        check_duration("Delivery.expiry", self.expiry, optional=False)
        check_duration("Delivery.ack_delay", self.ack_delay, optional=False)
        check_instance("Delivery.resend_lost", self.resend_lost, bool, "a bool")
        if self.fallback not in (None, "error", "at_most_once"):
            raise ValueError(
                f"Delivery.fallback must be 'error', 'at_most_once' or None, got {self.fallback!r}"
            )
        if (self.store is not None) is not (self.level is Level.DURABLE):
            raise ValueError(
                f"Delivery.store is for durable, and needed there: level is {self.level}, "
                f"store is {self.store!r}"
            )
        if self.store is not None and self.max_age is not None:
            raise ValueError(
                f"Delivery.max_age is not for durable, got {self.max_age!r}; give it to the store"
            )

    @classmethod
    def at_most_once(cls) -> Delivery:
        """Lose what is sent without a connection, or is on its way when one breaks."""
        return cls()

    @classmethod
    def buffered(cls) -> Delivery:
        """Keep what is sent without a connection. What is on its way can still be lost."""
        return cls(level=Level.BUFFERED)

    @classmethod
    def acknowledged(
        cls,
        *,
        max_messages: int = 65_536,
        max_bytes: int = 64 * 2**20,
        max_age: float | None = None,
        expiry: float = 120.0,
        ack_messages: int = 256,
        ack_bytes: int = 256 * 2**10,
        ack_delay: float = 0.05,
        redeliver: int = 0,
        resend_lost: bool = False,
        fallback: Literal["error", "at_most_once"] | None = None,
    ) -> Delivery:
        """Deliver exactly once and in order, as long as both processes live.

        Over any number of connections: what is missing after a reconnect is sent again. The
        arguments are those of the class.
        """
        return cls(
            level=Level.ACKNOWLEDGED,
            max_messages=max_messages,
            max_bytes=max_bytes,
            max_age=max_age,
            expiry=expiry,
            ack_messages=ack_messages,
            ack_bytes=ack_bytes,
            ack_delay=ack_delay,
            redeliver=redeliver,
            resend_lost=resend_lost,
            fallback=fallback,
        )

    @classmethod
    def durable(
        cls,
        store: Store,
        *,
        max_messages: int = 65_536,
        max_bytes: int = 64 * 2**20,
        expiry: float = 24 * 3600.0,
        ack_messages: int = 256,
        ack_bytes: int = 256 * 2**10,
        ack_delay: float = 0.05,
        redeliver: int = 0,
        resend_lost: bool = True,
        fallback: Literal["error", "at_most_once"] | None = None,
    ) -> Delivery:
        """Deliver exactly once and in order, also when this process is killed and started again.

        ``on_next`` returns when the message is in the store, whose limits apply. The arguments
        are those of the class.
        """
        return cls(
            level=Level.DURABLE,
            store=store,
            max_messages=max_messages,
            max_bytes=max_bytes,
            expiry=expiry,
            ack_messages=ack_messages,
            ack_bytes=ack_bytes,
            ack_delay=ack_delay,
            redeliver=redeliver,
            resend_lost=resend_lost,
            fallback=fallback,
        )

    @classmethod
    def of(cls, value: Delivery | str) -> Delivery:
        """Make one from what users write: a value, or the name of a level.

        Raises:
            ValueError: no such level, or one that needs a store.
        """
        if isinstance(value, cls):
            return value
        names = [level.value for level in Level if level is not Level.DURABLE]
        if value not in names:
            raise ValueError(
                f"delivery must be a Delivery or one of {names}, got {value!r}; "
                "durable is Delivery.durable(store)"
            )
        return cls(level=Level(value))

    @property
    def acknowledges(self) -> bool:
        """Whether it takes sessions and acknowledgements."""
        return self.level in (Level.ACKNOWLEDGED, Level.DURABLE)

    @property
    def buffers(self) -> bool:
        """Whether messages wait for a connection."""
        return self.level is not Level.AT_MOST_ONCE
