"""What server, client and group have in common: their life."""

from __future__ import annotations

import gc
import math
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, cast

import pytest
from interrupting import Interrupted
from reactivex import Subject
from reactivex.scheduler import EventLoopScheduler
from world import Nowhere, World

from rxplus import (
    BeginExit,
    ConnConfig,
    Runtime,
    RxWSClient,
    RxWSClientGroup,
    RxWSServer,
    Telemetry,
    ThreadRuntime,
    group,
)
from rxplus._engine import hub, mailbox
from rxplus_testing import Sim

Maker = Callable[..., RxWSServer | RxWSClient | RxWSClientGroup]

MAKERS: list[Maker] = [
    lambda **parts: RxWSServer({"host": "h", "port": 0}, **parts),
    lambda **parts: RxWSClient({"host": "h", "port": 1, "path": "/"}, **parts),
    lambda **parts: RxWSClientGroup({"host": "h", "port": 1}, **parts),
]


@pytest.fixture(params=MAKERS, ids=["server", "client", "group"])
def make(request: pytest.FixtureRequest) -> Maker:
    """A way to make each of the components."""
    maker: Maker = request.param
    return maker


def test_close_after_one_that_was_interrupted(make: Maker) -> None:
    """Ctrl-C before any statement of the first close(): the next one closes all the same."""
    for statements in count(1):
        with Sim() as sim:
            component = make(runtime=sim.runtime, transport=Nowhere())
            interrupted = Interrupted(statements, hub, mailbox, group)
            with suppress(KeyboardInterrupt), interrupted:
                component._hub.begin_close()
            assert component.close(1.0), statements
        if not interrupted.came:
            assert statements > 5
            return


def test_component_is_a_subject(make: Maker, world: World) -> None:
    """Each is a reactivex Subject."""
    with make(**world.parts) as component:
        assert isinstance(component, Subject)


@pytest.mark.parametrize("component", [RxWSServer, RxWSClient, RxWSClientGroup])
def test_conn_cfg_validation_missing_host(component: Maker) -> None:
    """A configuration without a host is refused, in these words."""
    needs = {"path": "/"} if component is RxWSClient else {}
    with pytest.raises(ValueError, match=r"^conn_cfg missing required keys: \['host'\]$"):
        component({"port": 1, **needs})


@pytest.mark.parametrize("component", [RxWSServer, RxWSClient, RxWSClientGroup])
def test_conn_cfg_validation_missing_port(component: Maker) -> None:
    """A configuration without a port is refused, in these words."""
    needs = {"path": "/"} if component is RxWSClient else {}
    with pytest.raises(ValueError, match=r"^conn_cfg missing required keys: \['port'\]$"):
        component({"host": "h", **needs})


def test_component_has_a_name(make: Maker, world: World) -> None:
    """The name is made up when none is given, and shows in the repr."""
    with make(**world.parts) as component:
        assert re.fullmatch(rf"{type(component).__name__}-\d+", component.name)
    with make(name="mine", **world.parts) as component:
        assert component.name == "mine"
        assert "mine" in repr(component)
    assert "closed" in repr(component)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ping_interval": -1.0}, ValueError, "ping_interval"),
        ({"ping_interval": 0}, ValueError, "ping_interval"),
        ({"ping_timeout": float("nan")}, ValueError, "ping_timeout"),
        ({"ping_timeout": "30"}, TypeError, "ping_timeout"),
        ({"compression": "gzip"}, ValueError, "compression"),
        ({"buffer": 10}, TypeError, "buffer must be a Buffer"),
        ({"subprotocols": "chat"}, TypeError, "subprotocols"),
        ({"tls": "yes"}, TypeError, "tls"),
        ({"pingo": 1}, TypeError, "pingo"),
        ({"name": 5}, TypeError, "name must be a str"),
        ({"scheduler": EventLoopScheduler}, TypeError, "scheduler must be an Rx scheduler"),
        ({"runtime": ThreadRuntime}, TypeError, "runtime must be a Runtime or None"),
        ({"runtime": "threads"}, TypeError, "runtime must be a Runtime or None"),
        ({"datatype": "text"}, ValueError, "Unsupported datatype 'text'"),
    ],
)
def test_component_refuses_wrong_options(
    make: Maker, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """An argument that cannot be right is refused by name, and nothing is left running."""
    before = set(threading.enumerate())
    with pytest.raises(error, match=message):
        make(transport=Nowhere(), **options)
    assert set(threading.enumerate()) == before


def test_component_takes_none_for_the_default(make: Maker, world: World) -> None:
    """None stands for the default wherever there is one."""
    make(
        **world.parts, buffer=None, limits=None, timeouts=None, telemetry=None, ping_interval=None
    ).close()


def test_component_takes_a_conn_config(world: World) -> None:
    """The typed value can be given in place of the mapping."""
    with RxWSServer(ConnConfig("127.0.0.1", 0), **world.parts) as server:
        config = ConnConfig("127.0.0.1", server.port, "/a")
        with RxWSClient(config, **world.parts) as client:
            assert client.wait_connected(5)


def test_component_closes_and_lets_go(make: Maker, world: World) -> None:
    """close() returns True once everything has been let go of, and again when repeated."""
    component = make(**world.parts)
    completed = world.sim.record(component)
    assert component.close()
    assert component.close()
    assert completed.completed
    assert world.sim.record(component).completed
    assert world.sim.record(component.errors).completed
    assert world.sim.record(component.losses).completed


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(-1, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("5", TypeError)],
)
def test_component_refuses_a_wrong_timeout_and_stays_open(
    make: Maker, world: World, timeout: Any, error: type[Exception]
) -> None:
    """A timeout that cannot be right is refused before anything is closed."""
    with make(**world.parts) as component:
        with pytest.raises(error, match="timeout must be"):
            component.close(timeout)
        assert component.health().state not in ("closing", "closed")


def test_component_that_is_dropped_open_warns_and_closes(make: Maker) -> None:
    """A component that is collected open gives a ResourceWarning, and its thread ends."""
    before = set(threading.enumerate())
    component: Any = make(transport=Nowhere(), name="dropped")
    (thread,) = set(threading.enumerate()) - before
    with pytest.warns(ResourceWarning, match=r"unclosed <.* dropped .*>"):
        del component
        gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_component_that_was_never_made_is_collected_quietly() -> None:
    """A constructor that raised leaves nothing that would warn."""
    with pytest.raises(ValueError, match="missing"):
        RxWSClient({})
    gc.collect()


def test_component_closes_at_exit(make: Maker, world: World) -> None:
    """At interpreter exit an open component is closed; a closed one is not asked."""
    exits: dict[int, BeginExit] = {}

    class Exiting:
        """The simulation's runtime, with an interpreter exit of the test's own."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.sim.runtime, name)

        def at_exit(self, begin: BeginExit) -> Callable[[], None]:
            key = len(exits)
            exits[key] = begin
            return lambda: exits.pop(key, None) and None

    component = make(**{**world.parts, "runtime": cast("Runtime", Exiting())})
    assert len(exits) == 1
    wait = exits[0]()
    wait()
    assert component.health().state == "closed"
    assert exits == {}


def test_components_share_a_runtime_and_its_thread() -> None:
    """Components with one runtime run on one thread, which ends with the last of them."""
    before = set(threading.enumerate())
    runtime = ThreadRuntime("shared")
    parts: dict[str, Any] = {"runtime": runtime, "transport": Nowhere()}
    components = [make(**parts) for make in MAKERS]
    (thread,) = set(threading.enumerate()) - before
    assert thread.name == "shared"
    for component in components:
        assert thread.is_alive()
        component.close()
    assert not thread.is_alive()


def test_component_closed_by_two_threads_at_once_completes_once(make: Maker) -> None:
    """Threads that close at the same time all wait for the same one shutdown."""
    component: Any = make(transport=Nowhere())
    completions: list[None] = []
    component.subscribe(on_completed=lambda: completions.append(None))
    barrier = threading.Barrier(4)
    results: list[bool] = []

    def close() -> None:
        barrier.wait(10)
        results.append(component.close())

    threads = [threading.Thread(target=close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == [True] * 4
    assert completions == [None]


def test_group_clients_are_one_series_of_each_metric(world: World) -> None:
    """The clients of a group are counted together, under the group's name."""
    seen: list[tuple[str, str]] = []

    class Spy(Telemetry):
        """Notes which components ask for a probe."""

        def probe(self, kind: str, name: str, stats: Any) -> Any:
            probe = super().probe(kind, name, stats)
            seen.append((kind, self._name or name))
            return probe

    group = world.group(1, name="many", telemetry=Spy())
    for path in ("/a", "/b"):
        group.open_path(path)
    assert seen == [("group", "many"), ("client", "many"), ("client", "many")]
    group.close()
