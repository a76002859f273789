"""Sessions in a store: what has arrived, and who it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from rxplus._core.protocol.conversation import Conversation
from rxplus._core.protocol.receipt import Receipt
from rxplus._core.protocol.record import Record
from rxplus._engine.hub import Hub
from rxplus.errors import StoreError, StoreFullError
from rxplus.store import Store

__all__ = ["Archive", "Archives", "Claim"]

_OUT = "rxplus out "


class _Claims:
    """To the parts of one store, in this process. Each step is one of a dict's, and so atomic."""

    def __init__(self) -> None:
        self.held: dict[str, Claim] = {}
        self.released: dict[str, Claim] = {}


_claims: WeakKeyDictionary[Store, _Claims] = WeakKeyDictionary()


class Claim:
    """A component's claim to a part of a store, which it has alone.

    A component that has been closed may still have messages on its scheduler. They are its own
    until another takes over: then they come again, there.

    Args:
        store: what survives.
        name: of the part.
        advice: what to do if another component has it.

    Raises:
        ValueError: another component has it.
    """

    def __init__(self, store: Store, name: str, advice: str) -> None:
        self._claims = _claims.setdefault(store, _Claims())
        self._name = name
        self.over = False
        """Whether another has taken over. Looked at within transactions: the next component
        begins by reading, and so waits for one that is under way."""
        if self._claims.held.setdefault(name, self) is not self:
            raise ValueError(f"{name!r} is in use in this store: {advice}")
        former = self._claims.released.pop(name, None)
        if former is not None:
            former.over = True

    def release(self) -> None:
        """Let others have it. Once."""
        self._claims.released[self._name] = self
        del self._claims.held[self._name]


class Archives:
    """The sessions of a server, in a store.

    Args:
        hub: of the server.
        store: what survives.

    Raises:
        ValueError: another server has them.
    """

    _PREFIX = f"{_OUT}server "

    def __init__(self, hub: Hub[Any], store: Store) -> None:
        self._hub = hub
        self._store = store
        self._claim = Claim(store, "server", "give each server a store of its own")
        self.release = self._claim.release

    def open(self, token: str) -> Archive:
        """Return the part of a session, which need not exist."""
        return Archive(self._hub, self._store, f"server {token}", self._claim)

    def tokens(self) -> list[str]:
        """Return the names of the sessions that there are."""
        streams = sorted(self._store.streams())
        return [one.removeprefix(self._PREFIX) for one in streams if one.startswith(self._PREFIX)]


class Archive:
    """The part of a store that belongs to one session of a component.

    Args:
        hub: of the component.
        store: what survives.
        name: of the session, the same in each life of the process.
        claim: to it.
    """

    def __init__(self, hub: Hub[Any], store: Store, name: str, claim: Claim) -> None:
        self._hub = hub
        self._claim = claim
        self.store = store
        self.stream = f"{_OUT}{name}"
        self._record_key = f"rxplus session {name}"
        self._received_key = f"rxplus in {name}"
        self.record = Record.decode(store.load(self._record_key))
        self.received = int(store.load(self._received_key) or b"0")
        """Number of the last message that subscribers were done with, in earlier lives."""
        # Of the session as the store has it; that of one which is over counts no more.
        self._receipt: Receipt | None = None
        self.put_off: Callable[[StoreFullError], None] = partial(
            hub.report, note="the store is full"
        )
        """Closes the session's present connection, until there is room. On the loop."""

    # ── as a session goes ─────────────────────────────────────────────────────────────────

    def note(self, conversation: Conversation) -> bool:
        """Keep the session as it is now.

        Returns:
            Whether it could be kept. If not, nothing that depends on it may be said.
        """
        self.record.token, self.record.epoch = conversation.token, conversation.epoch
        before, self._receipt = self._receipt, conversation.incoming
        try:
            with self.store.transaction():
                self.store.append(self.stream, ())  # from now on there is one
                self.store.save(self._record_key, self.record.encode())
                if before is not self._receipt:
                    self._save_received(self._receipt.processed)
        except StoreError as exc:
            self._receipt = before
            if isinstance(exc, StoreFullError):
                self.put_off(exc)
            else:
                self.fail(exc)
            return False
        return True

    def drop(self) -> None:
        """Forget the session."""
        self._receipt = None
        try:
            with self.store.transaction():
                self.store.drop(self.stream)
                self.store.save(self._record_key, None)
                self.store.save(self._received_key, None)
        except StoreFullError as exc:
            self._hub.report(exc, "a session that has ended stays in the store until a restart")
        except StoreError as exc:
            self.fail(exc)

    def fail(self, error: StoreError) -> None:
        """End the component: it cannot keep what it promised. What the store has stays there."""
        self._hub.fail(error, "its store failed")

    # ── as messages are dealt with, on the subscribers' thread ────────────────────────────

    def settle(self, receipt: Receipt, first: int, last: int, give: Callable[[], object]) -> None:
        """Deal with messages and keep the number of the last, in one transaction.

        What subscribers write to the store is in it as well: all is done, or nothing. Messages
        that are not next are passed over: they came before, or are behind some that could not
        be dealt with, and come again.

        Args:
            receipt: that the messages belong to.
            first: number of the first of them.
            last: number of the last.
            give: gives them to subscribers.
        """
        if first != receipt.processed + 1:
            return
        try:
            with self.store.transaction():
                if self._claim.over:
                    return
                give()
                if receipt is self._receipt:  # or its session is over, and nothing is kept
                    self._save_received(last)
        except StoreFullError as exc:
            self._hub.lease.call_soon(self._rewind, receipt, exc)
        except StoreError as exc:
            self.fail(exc)
        else:
            receipt.processed = last

    def _rewind(self, receipt: Receipt, error: StoreFullError) -> None:
        """Have what was not dealt with come again. On the loop."""
        receipt.rewind()
        self.put_off(error)

    def keep(self, receipt: Receipt, number: int) -> None:
        """Keep the number of a message that subscribers are done with already.

        They were given it by way of :meth:`guarded`.
        """
        if number <= receipt.processed:
            return
        try:
            with self.store.transaction():
                if self._claim.over:
                    return
                if receipt is self._receipt:
                    self._save_received(number)
        except StoreFullError as exc:
            receipt.unkept = number
            self._hub.lease.call_soon(self.put_off, exc)
        except StoreError as exc:
            self.fail(exc)
        else:
            receipt.processed = number

    def guarded(self, give: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return what gives values to subscribers until another component takes over."""

        def guarded(value: Any) -> None:
            if not self._claim.over:
                give(value)

        return guarded

    def _save_received(self, number: int) -> None:
        self.store.save(self._received_key, b"%d" % number)
