"""Recorders, and what is expected of them step by step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest
from world import World

from rxplus_testing import Recorder, Sim, expect


def refused(step: Callable[[], object]) -> list[str]:
    """Return the lines of the failure that ``step`` ends in."""
    with pytest.raises(AssertionError) as caught:
        step()
    return str(caught.value).splitlines()


# Steps.


def test_expect_next_lets_time_pass_until_it_comes(sim: Sim) -> None:
    """A step runs the simulation up to its event and no further, and returns the value."""
    seen = sim.record(rx.timer(2.0, 1.0).pipe(ops.take(2)))
    assert expect(seen).next(0) == 0
    assert sim.now == 2.0
    assert expect(seen).next() == 1
    expect(seen).completed()
    assert sim.now == 3.0


def test_expect_next_takes_what_came_already(sim: Sim) -> None:
    """Events that came before are taken in order, and no time passes."""
    seen = sim.record(rx.of("a", "b"))
    sim.advance(1.0)
    expect(seen).next("a", within=0)
    expect(seen).next("b", within=0)
    expect(seen).completed(within=0)
    assert (sim.now, seen.unchecked) == (1.0, [])


def test_expect_next_says_what_came_instead(sim: Sim) -> None:
    """A failure shows what was expected, what came, when, all that was recorded, and the state."""
    seen = sim.record(rx.timer(1.5, 1.0).pipe(ops.map("abc".__getitem__), ops.take(3)))
    sim.advance(2.6)
    expect(seen).next("a")
    assert refused(lambda: expect(seen).next("c", within=4)) == [
        "expected next 'c'",
        "but next 'b' came, at t=2.500000",
        "recorded (2, of which 1 not yet expected, marked >):",
        "  1.500000 'a'",
        "> 2.500000 'b'",
        "t=2.600000, next timer at 3.500000",
        "  no task",
    ]


def test_expect_next_leaves_what_it_refused(sim: Sim) -> None:
    """A step that failed has taken nothing."""
    seen = sim.record(rx.of(1))
    refused(lambda: expect(seen).next(2))
    expect(seen).next(1)


def test_expect_next_gives_up(sim: Sim) -> None:
    """Nothing within the time is a failure that says so."""
    seen = sim.record(rx.timer(5.0))
    lines = refused(lambda: expect(seen).next(within=4.0))
    assert lines[:2] == ["expected next of any value within 4.0 s", "but nothing came"]
    assert lines[3] == "  nothing"
    assert sim.now == 4.0


def test_expect_next_with_nothing_left_fails_at_once(sim: Sim) -> None:
    """What can never come is a failure as well."""
    never: Subject[int] = Subject()
    seen = sim.record(never)
    assert refused(lambda: expect(seen).next(1))[0] == "expected next 1 within 60.0 s"


def test_expect_next_where(sim: Sim) -> None:
    """A condition is asked, and named when it is not met."""

    def is_even(number: int) -> bool:
        return number % 2 == 0

    seen = sim.record(rx.of(2, 3))
    expect(seen).next(where=is_even)
    lines = refused(lambda: expect(seen).next(where=is_even))
    assert lines[0] == "expected next of any value that satisfies is_even"
    lines = refused(lambda: expect(seen).next(3, where=is_even))
    assert lines[0] == "expected next 3 that satisfies is_even"


def test_expect_next_refuses_an_end(sim: Sim) -> None:
    """A stream that ended gives no value."""
    seen = sim.record(rx.empty())
    assert refused(lambda: expect(seen).next(1))[1] == "but completed came, at t=0.000000"


def test_expect_values_share_one_time(sim: Sim) -> None:
    """Several values are expected within one time altogether."""
    seen = sim.record(rx.timer(1.0, 1.0))
    expect(seen).values(0, 1, 2, within=3.0)
    assert refused(lambda: expect(seen).values(3, 4, within=1.5))[0] == (
        "expected next 4 within 0.5 s"
    )


def test_expect_nothing_lets_the_time_pass(sim: Sim) -> None:
    """The whole time passes, whether anything is left to run or not."""
    seen = sim.record(rx.timer(2.0))
    expect(seen).nothing(during=1.5)
    assert sim.now == 1.5
    expect(seen).next(0)
    expect(seen).completed()
    expect(seen).nothing(during=10)
    assert sim.now == 12.0


def test_expect_nothing_refuses_the_first_event(sim: Sim) -> None:
    """It stops at what comes, or was there before."""
    seen = sim.record(rx.timer(2.0))
    assert refused(lambda: expect(seen).nothing(during=3))[:2] == [
        "expected nothing during 3 s",
        "but next 0 came, at t=2.000000",
    ]
    assert sim.now == 2.0
    refused(lambda: expect(seen).nothing())


def test_expect_error_returns_it(sim: Sim) -> None:
    """An error is expected by class and text, and returned."""
    seen = sim.record(rx.throw(KeyError("left")))
    assert refused(lambda: expect(seen).error(ValueError))[:2] == [
        "expected error ValueError",
        "but error KeyError('left') came, at t=0.000000",
    ]
    assert refused(lambda: expect(seen).error(KeyError, match="right"))[0] == (
        "expected error KeyError matching 'right'"
    )
    assert expect(seen).error(KeyError, match="left").args == ("left",)


def test_expect_completed_refuses_a_value(sim: Sim) -> None:
    """A value is no end."""
    seen = sim.record(rx.of(1))
    assert refused(lambda: expect(seen).completed())[0] == "expected completed"


def test_expect_shows_what_is_long_in_short(sim: Sim) -> None:
    """Long values are cut, and where they differ is told."""
    seen = sim.record(rx.of("x" * 500 + "y" + "x" * 500, list(range(100)), b"\0" * 4096))
    lines = refused(lambda: expect(seen).next("x" * 1001))
    assert lines[0].endswith("... (1001 characters)")
    assert [len(line) for line in lines if len(line) > 300] == []
    assert lines[2] == (
        f"they differ from index 500 on: {'x' * 40!r} became {'x' * 20 + 'y' + 'x' * 19!r}"
    )
    expect(seen).next()
    lines = refused(lambda: expect(seen).next([*range(99), 7]))
    assert "index 99" in lines[2]
    lines = refused(lambda: expect(seen).next(list(range(101))))
    assert "index 100" in lines[2]
    expect(seen).next()
    assert "(4096 bytes)" in refused(lambda: expect(seen).nothing())[1]


def test_expect_tells_which_fields_differ(sim: Sim) -> None:
    """Of mappings and data classes the fields that differ are named."""

    @dataclass
    class Reading:
        sensor: str
        value: float

    seen = sim.record(rx.of({"a": 1, "b": 2}, Reading("roof", 1.5), {1, 2}))
    lines = refused(lambda: expect(seen).next({"a": 1, "b": 3, "c": 4}))
    assert lines[2:4] == ["b: 3 became 2", "c: 4 became (nothing)"]
    expect(seen).next()
    assert refused(lambda: expect(seen).next(Reading("roof", 2.5)))[2] == "value: 2.5 became 1.5"
    expect(seen).next()
    assert refused(lambda: expect(seen).next({3}))[2].startswith("recorded")
    assert refused(lambda: expect(seen).next("3"))[2].startswith("recorded")


def test_expect_shows_the_end_of_a_long_history(sim: Sim) -> None:
    """Of many events those are shown that matter to the step."""
    seen = sim.record(rx.range(0, 100))
    expect(seen).values(*range(90))
    lines = refused(lambda: expect(seen).next(1000))
    assert "  ... 71 before" in lines
    assert "> 0.000000 90" in lines
    crowd = sim.record(rx.range(0, 50))
    sim.run_until_idle()
    lines = refused(lambda: expect(crowd).next(1000))
    assert "> 0.000000 0" in lines
    assert "  ... 31 more" in lines


def test_expect_sees_messages_over_the_network(world: World) -> None:
    """Components are watched like any other observable."""
    server = world.server()
    received = world.sim.record(server)
    client = world.connected(server)
    client.on_next("hello")
    assert expect(received).next(within=1.0).data == "hello"
    client.close()
    server.close()
    expect(received).completed()


# In real time.


def test_expect_waits_for_another_thread() -> None:
    """Without a simulation a step waits until the event comes, from whichever thread."""
    source: Subject[str] = Subject()
    seen = Recorder(source)
    go = threading.Event()

    def emit() -> None:
        go.wait(10)
        source.on_next("a")
        source.on_error(ValueError("no"))

    thread = threading.Thread(target=emit)
    thread.start()
    expect(seen).nothing()
    go.set()
    expect(seen).next("a")
    expect(seen).error(ValueError)
    thread.join(10)
    assert 0 <= seen.times[0] <= (seen.ended_at or 0.0)
    seen.dispose()


def test_expect_in_real_time_gives_up() -> None:
    """The wait has a limit, and what it did not see is told."""
    never: Subject[str] = Subject()
    seen = Recorder(never)
    assert refused(lambda: expect(seen).next("a", within=0.001)) == [
        "expected next 'a' within 0.001 s",
        "but nothing came",
        "recorded (0, of which 0 not yet expected, marked >):",
        "  nothing",
    ]
    never.on_completed()
    expect(seen).completed()


def test_expect_marbles_need_virtual_time() -> None:
    """In real time nothing comes exactly then."""
    with pytest.raises(TypeError, match=r"record with Sim\.record"):
        expect(Recorder(rx.empty())).marbles("|")


# Marbles.


def test_messages_are_those_of_reactivex_testing(sim: Sim) -> None:
    """What was recorded compares with ReactiveTest's."""
    source: Subject[str] = Subject()
    ended = sim.record(source)
    seen = sim.record(rx.from_marbles("-a-#", timespan=1.0, error=ValueError("no")))
    assert ended.messages == []
    sim.advance(4.0)
    assert seen.messages == [
        ReactiveTest.on_next(1, "a"),
        ReactiveTest.on_error(3, ValueError("no")),
    ]
    source.on_completed()
    assert ended.messages == [ReactiveTest.on_completed(4)]


def test_messages_compare_with_parsed_marbles(sim: Sim) -> None:
    """So do the messages that reactivex reads out of a diagram."""
    diagram = "--1--(2,3)-4|"
    seen = sim.record(rx.from_marbles(diagram, timespan=1.0))
    sim.advance(20)
    from reactivex.observable.marbles import parse
    from reactivex.testing.marbles import messages_to_records

    assert seen.messages == messages_to_records(parse(diagram))


@pytest.mark.parametrize("diagram", ["-a-b-|", "(a,b)-c", "--#", "a", "", "-(a,|)", "-1--2.5-|"])
def test_marbles_drawn_are_those_that_were_read(sim: Sim, diagram: str) -> None:
    """Cold and hot observables of reactivex run in virtual time, and are drawn as they were."""
    cold = sim.record(rx.from_marbles(diagram, timespan=0.1))
    hot = sim.record(rx.hot(diagram, timespan=0.1, scheduler=sim.scheduler))
    expect(cold).marbles(diagram, timespan=0.1)
    expect(hot).marbles(diagram, timespan=0.1)
    assert cold.marbles(timespan=0.1) == hot.marbles(timespan=0.1) == diagram.rstrip("-")


def test_marbles_of_operators_that_take_time(sim: Sim) -> None:
    """Operators are tested by the diagrams in which they are explained."""
    source = rx.from_marbles("-a-b---c|", timespan=1.0)
    seen = sim.record(source.pipe(ops.debounce(1.5)))
    expect(seen).marbles("--a-b---(c,|)")


def test_marbles_lookup_and_error(sim: Sim) -> None:
    """Names stand for values, and # for an error of a class or with a text."""
    seen = sim.record(rx.of(1, True).pipe(ops.concat(rx.throw(ValueError("no")))))
    expect(seen).marbles("(i,t,#)", lookup={"i": 1, "t": True}, error=ValueError)
    assert seen.marbles(lookup={"t": True}) == "(1,t,#)"
    for wrong in (KeyError, ValueError("yes"), KeyError("no")):
        again = sim.record(rx.throw(ValueError("no")))
        refused(lambda again=again, wrong=wrong: expect(again).marbles("#", error=wrong))  # type: ignore[misc]
    expect(again).marbles("#", error=ValueError("no"))


def test_marbles_take_what_is_within_them(sim: Sim) -> None:
    """Diagrams follow one another, each from a time of its own if need be."""
    seen = sim.record(rx.timer(1.0, 1.0))
    expect(seen).marbles("-0")
    expect(seen).marbles("1", since=2.0)
    expect(seen).next(2)
    assert sim.now == 3.0


def test_marbles_that_differ_are_shown_side_by_side(sim: Sim) -> None:
    """A failure draws both, and lists by timespan what differs."""
    seen = sim.record(rx.from_marbles("-a-b-c|", timespan=1.0))
    lines = refused(lambda: expect(seen).marbles("-a--b--", error=KeyError))
    assert lines[:9] == [
        "expected -a--b--",
        "got      -a-b-c|",
        "a character is 1.0 s, from t=0.000000 on",
        "timespan  expected / got",
        "       1  next 'a' / next 'a'",
        ">      3  - / next 'b'",
        ">      4  next 'b' / -",
        ">      5  - / next 'c'",
        ">      6  - / completed",
    ]
    refused(lambda: expect(seen).marbles("-a-b--|"))
    refused(lambda: expect(seen).marbles("-a-b-cc"))
    refused(lambda: expect(seen).marbles("-a--bc|"))
    refused(lambda: expect(seen).marbles("-a--b-c|"))
    refused(lambda: expect(seen).marbles("-a-b-x|"))
    expect(seen).marbles("-a-b-c|")


def test_marbles_that_cannot_be_drawn_are_listed(sim: Sim) -> None:
    """Too much in a timespan, or a value that is no name, is told rather than drawn wrong."""
    crowded = sim.record(rx.from_marbles("-a-b---------c", timespan=0.1))
    sim.advance(2)
    with pytest.raises(ValueError, match=r"draw with a timespan below 1\.0 s"):
        crowded.marbles()
    side_by_side = sim.record(rx.from_marbles("-a-b", timespan=0.5))
    sim.advance(2)
    with pytest.raises(ValueError, match="leaves no room for b in timespan 1"):
        side_by_side.marbles()
    odd = sim.record(rx.of("x-y"))
    sim.run_until_idle()
    with pytest.raises(ValueError, match=r"'x-y' cannot stand in a diagram: name it in lookup"):
        odd.marbles()
    assert refused(lambda: expect(odd).marbles("a"))[1].startswith("got      (cannot be drawn: ")
    assert odd.marbles(timespan=3.0, lookup={"a": "x-y"}) == "(a,|)"
