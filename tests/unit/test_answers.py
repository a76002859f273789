"""What subscribers answer goes out in the turn of the loop in which they were told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import pytest
from doubles import ManualLease
from world import World

from rxplus import Lease, RxWSClient, RxWSClientGroup, RxWSServer, TaggedData
from rxplus._engine.answers import Answers
from rxplus_testing import Sim


class Turn:
    """What happens on a loop, in order."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.lease: Lease = sim.runtime.acquire()
        self.answers = Answers(self.lease)
        self.heard: list[str] = []

    def note(self, what: str) -> None:
        """Hear that something happened."""
        self.heard.append(what)

    def answer(self, message: str) -> None:
        """Be told of a message, and answer."""
        self.note(f"told {message}")
        self.answers.call_soon(partial(self.note, f"answered {message}"))

    def tell(self, message: str, take: Callable[[str], None] | None = None) -> None:
        """Tell of a message."""
        self.answers.tell(take or self.answer, message)
        self.note("done")

    def run(self, *calls: Callable[[], object]) -> list[str]:
        """Make calls in one turn of the loop, and return what happened then and after."""
        for call in calls:
            self.sim.loop.call_soon(call)
        self.sim.run_until_idle()
        return self.heard


@pytest.fixture
def turn(sim: Sim) -> Iterator[Turn]:
    """A loop that has nothing to do."""
    turn = Turn(sim)
    yield turn
    turn.lease.release()


def test_answers_go_out_as_soon_as_subscribers_are_done(turn: Turn) -> None:
    """A loop with nothing else to do loses no time."""
    assert turn.run(partial(turn.tell, "a")) == ["told a", "answered a", "done"]


def test_answers_wait_for_what_else_there_is_to_do_in_the_turn(turn: Turn) -> None:
    """Who is heard in the same turn may be answered together."""
    heard = turn.run(partial(turn.tell, "a"), partial(turn.note, "other"))
    assert heard == ["told a", "done", "other", "answered a"]


def test_answers_to_messages_of_one_turn_go_out_together(turn: Turn) -> None:
    """None of them before the last has been told, and in order."""
    heard = turn.run(partial(turn.tell, "a"), partial(turn.tell, "b"))
    assert heard == ["told a", "done", "told b", "done", "answered a", "answered b"]


def test_answers_come_no_later_than_calls_handed_over_meanwhile(turn: Turn) -> None:
    """What a subscriber does after it has answered happens after the answer."""

    def answer_and_go_on(message: str) -> None:
        turn.answer(message)
        turn.lease.call_soon(turn.note, "went on")

    heard = turn.run(partial(turn.tell, "a", answer_and_go_on))
    assert heard == ["told a", "answered a", "done", "went on"]


def test_answers_of_other_threads_are_calls_to_the_loop(turn: Turn) -> None:
    """They are not made by a thread that has nothing to do with them, while somebody is told."""

    def while_another_thread_sends(message: str) -> None:
        turn.note(f"told {message}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(turn.lease, "in_loop", lambda: False)
            turn.answers.call_soon(partial(turn.note, "sent"))

    heard = turn.run(partial(turn.tell, "a", while_another_thread_sends))
    assert heard == ["told a", "done", "sent"]


def test_answers_are_calls_to_the_loop_when_nobody_is_told(turn: Turn) -> None:
    """A message from a timer, or from the next one's turn, takes the usual way."""
    turn.run(partial(turn.tell, "a"))
    turn.heard.clear()

    def send() -> None:
        turn.answers.call_soon(partial(turn.note, "sent"))
        turn.note("done")

    assert turn.run(send) == ["done", "sent"]


def test_answers_are_made_although_something_raises(turn: Turn) -> None:
    """What subscribers let through stops nobody else's answer, and each error is told of."""

    def answer_and_fail(message: str) -> None:
        turn.answers.call_soon(partial(_fail, "first"))
        turn.answers.call_soon(partial(_fail, "second"))
        turn.answer(message)
        _fail("told")

    heard = turn.run(partial(turn.tell, "a", answer_and_fail))
    assert heard == ["told a", "answered a"]
    failures = [str(failure["exception"]) for failure in turn.sim.loop.failures]
    turn.sim.loop.failures.clear()
    assert failures == ["told", "first", "second"]


def test_answers_that_raise_are_not_about_who_was_told(turn: Turn) -> None:
    """A connection goes on, whatever comes of an answer to what it brought."""
    heard = turn.run(partial(turn.tell, "a", lambda _: turn.answers.call_soon(_end)))
    assert heard == ["done"]
    (failure,) = turn.sim.loop.failures
    turn.sim.loop.failures.clear()
    assert isinstance(failure["exception"], _End)


class _End(BaseException):
    """Such as the end of a test."""


def _end() -> None:
    raise _End


def _fail(why: str) -> None:
    raise LookupError(why)


def test_answers_within_answers_are_made(turn: Turn) -> None:
    """Whoever tells somebody while somebody is told loses nothing."""

    def answer_and_tell(message: str) -> None:
        turn.answer(message)
        turn.answers.tell(turn.answer, "b")
        turn.answer("c")

    heard = turn.run(partial(turn.tell, "a", answer_and_tell))
    told = ["told a", "told b", "answered b", "told c", "answered a", "done", "answered c"]
    assert heard == told


def test_answers_to_what_comes_of_an_answer_take_another_turn(turn: Turn) -> None:
    """Or a loss that is answered by what is lost as well would hold up the loop for ever."""

    def answer_what_comes_of_it(message: str) -> None:
        turn.note(f"told {message}")
        turn.answers.call_soon(partial(turn.answer, "b"))

    heard = turn.run(partial(turn.tell, "a", answer_what_comes_of_it))
    assert heard == ["told a", "told b", "done", "answered b"]


def test_answers_are_calls_to_the_loop_where_it_does_not_show_what_it_has_to_do() -> None:
    """Such as uvloop's."""
    loop = Unknown()
    answers = Answers(_LeaseOf(cast("asyncio.AbstractEventLoop", loop)))
    heard: list[str] = []
    answers.tell(lambda what: answers.call_soon(partial(heard.append, what)), "answered")
    assert heard == []
    (call,) = loop.calls
    call()
    assert heard == ["answered"]


class Unknown:
    """A loop of which nothing is known but how to hand over calls."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Keep the call."""
        self.calls.append(callback)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, asyncio.SelectorEventLoop])
def test_answers_know_what_asyncio_has_to_do(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """It is not public; this shows that it is still so with the Python at hand."""
    loop = loop_factory()
    answers = Answers(_LeaseOf(loop))
    heard: list[str] = []

    def tell(message: str) -> None:
        answers.tell(lambda what: answers.call_soon(partial(heard.append, what)), message)
        heard.append("done")

    def turn(*calls: Callable[[], object]) -> list[str]:
        heard.clear()
        for call in (loop.stop, *calls):
            loop.call_soon(call)
        loop.run_forever()
        return list(heard)

    try:
        assert turn(partial(tell, "a")) == ["a", "done"]
        assert turn(partial(tell, "b"), partial(heard.append, "other")) == ["done", "other"]
        assert turn() == ["b"]
    finally:
        loop.close()


class _LeaseOf(ManualLease):
    """A lease on a loop that the test runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self.is_loop = True

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop."""
        return self._loop

    def call_soon(self, callback: Callable[..., object], *args: object) -> bool:
        """Hand it over."""
        self._loop.call_soon(callback, *args)
        return True


# ── components ────────────────────────────────────────────────────────────────────────────────


class Answering:
    """A component that answers, and counts when its answers go out."""

    def __init__(self, world: World, part: RxWSServer | RxWSClient | RxWSClientGroup) -> None:
        self._world = world
        self._part = part
        self.sent: list[int] = []
        """How many have been sent by each message, and by the loop's turn after that."""
        part.subscribe(self._answer)

    def _answer(self, value: Any) -> None:
        self._count()
        # Handed over before the answer, and so before what takes another turn of the loop.
        self._world.sim.loop.call_soon(self._count)
        self._part.on_next(value)

    def _count(self) -> None:
        self.sent.append(self._part.health().messages_out)


def test_server_answers_in_the_same_turn(world: World) -> None:
    """Who waits for a server's answer waits for no further turn of its loop."""
    server = world.server()
    answering = Answering(world, server)
    client = world.connected(server)
    client.on_next("a")
    world.settle()
    assert answering.sent == [0, 1]
    client.close()
    server.close()


def test_client_answers_in_the_same_turn(world: World) -> None:
    """And a client's as well."""
    server = world.server()
    client = world.connected(server)
    answering = Answering(world, client)
    server.on_next(TaggedData("/a", "a"))
    world.settle()
    assert answering.sent == [0, 1]
    client.close()
    server.close()


def test_group_answers_in_the_same_turn(world: World) -> None:
    """By the client that was told: its mailbox is what is woken."""
    server = world.server()
    group = world.group(server)
    answering = Answering(world, group)
    group.open_path("/a")
    assert group.wait_connected(10)
    server.on_next(TaggedData("/a", "a"))
    world.settle()
    assert answering.sent == [0, 1]
    group.close()
    server.close()


def test_server_answers_what_arrives_in_the_same_turn_together(world: World) -> None:
    """A fan-out for each of many peers would be as many times as much work."""
    server = world.server()
    answering = Answering(world, server)
    clients = [world.connected(server) for _ in range(3)]
    for client in clients:
        client.on_next("a")
    world.settle()
    assert answering.sent == [0, 0, 0, 0, 9, 9]
    for part in (*clients, server):
        part.close()


def test_server_answers_what_may_not_be_the_last_of_a_read_later(world: World) -> None:
    """A message that comes before a ping, say; and what is behind that."""
    server = world.server()
    answering = Answering(world, server)
    client = world.connected(server)
    (peer,) = server.peers
    receiver: Any = peer._member.session.receiver
    world.on_loop(lambda: receiver.on_messages(["a"], more=True))
    world.on_loop(lambda: receiver.on_message("b"))
    world.on_loop(lambda: receiver.on_messages(["c"], more=False))
    assert answering.sent == [0, 0, 1, 1, 2, 3]
    client.close()
    server.close()


def test_server_does_not_answer_who_has_closed(world: World) -> None:
    """What came with a close frame was not the last of what had arrived."""
    server = world.server()
    answering = Answering(world, server)
    client = world.connected(server)
    client.on_next("a")
    client.close()
    world.settle()
    assert answering.sent == [0, 0]
    assert server.health().losses == {"disconnected": 1}
    server.close()


def test_server_keeps_the_peer_whose_answer_raises(world: World) -> None:
    """A subscriber of its losses lets something through; the one who asked has no part in it."""
    server = world.server()
    heard = world.sim.record(server)
    server.subscribe(lambda value: server.on_next(TaggedData("/nobody", value.data)))
    server.losses.subscribe(lambda _: _end())
    client = world.connected(server)
    for message in ("a", "b"):
        client.on_next(message)
        world.settle()
    assert [value.data for value in heard.values] == ["a", "b"]
    assert client.health().connections_opened == 1
    assert [type(failure["exception"]) for failure in world.sim.loop.failures] == [_End, _End]
    world.sim.loop.failures.clear()
    client.close()
    server.close()
