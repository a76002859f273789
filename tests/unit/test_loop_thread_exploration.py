"""The real loop thread under the baton: its own threads, locks and events, explored."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from world import Nowhere

from rxplus import Retry, RxWSClient, ThreadRuntime
from rxplus._engine import loop_thread, thread_runtime
from rxplus_testing import Sim, explore
from rxplus_testing._baton import Baton
from rxplus_testing._baton_loop import BatonLoop, BatonSelector
from rxplus_testing._baton_thread import BatonThread, Wait
from rxplus_testing._threads import ThreadDriver

COUNT = int(os.environ.get("RXPLUS_EXPLORE", "10"))
FIRST = int(os.environ.get("RXPLUS_EXPLORE_FIRST", "0"))


class RLock:
    """A reentrant lock of a simulation."""

    def __init__(self, sim: Sim) -> None:
        self._baton = baton_of(sim)
        self._holder: BatonThread | None = None
        self._depth = 0

    def __enter__(self) -> bool:
        me = self._baton.current
        if self._holder is not me:
            self._baton.switch("rlock")
            if self._holder is not None:
                self._baton.wait(Wait(why="waits for a lock", ready=lambda: self._holder is None))
            self._holder = me
        self._depth += 1
        return True

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._holder = None
            if self._baton.has_it():
                self._baton.switch("unlock")


class Thread:
    """A thread of a simulation, with the face of a real one."""

    numbers = 0

    def __init__(self, sim: Sim, *, target: Callable[[], object], name: str, daemon: bool) -> None:
        self._baton = baton_of(sim)
        self._target = target
        self._name = name
        self.ident: int | None = None
        self._thread: BatonThread | None = None

    def start(self) -> None:
        """Start it; as a real one it may run before this returns."""
        self._thread = self._baton.start(self._name, self._run)
        self.ident = self._thread.ident
        self._baton.switch("start")

    def _run(self) -> None:
        try:
            self._target()
        except Exception as error:
            self._baton.interrupt(error)

    def is_alive(self) -> bool:
        """Tell whether it runs."""
        return self._thread in self._baton.alive()

    def join(self) -> None:
        """Wait for its end."""
        self._baton.wait(Wait(why="joins", ready=lambda: not self.is_alive()))


class Loop(BatonLoop):
    """A loop of its own, with the simulation's clock."""

    def __init__(self, sim: Sim) -> None:
        super().__init__()
        self._clock = sim.loop
        self._baton = baton_of(sim)
        self._rest_in(BatonSelector(self, self._baton))

    def time(self) -> float:
        """Tell the simulation's time."""
        now = self._clock.time()
        self.skip_to(now)
        return now


def baton_of(sim: Sim) -> Baton:
    """Return the baton of a simulation with threads."""
    assert isinstance(sim._driver, ThreadDriver)
    return sim._driver.baton


@pytest.fixture
def enter(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sim], None]:
    """Give a function that puts the modules with threads into a simulation."""

    def put(sim: Sim) -> None:
        names = SimpleNamespace(
            RLock=lambda: RLock(sim),
            Lock=sim.runtime.lock,
            Event=sim.runtime.event,
            Thread=lambda **given: Thread(sim, **given),
            get_ident=threading.get_ident,
        )
        for module in (loop_thread, thread_runtime):
            monkeypatch.setattr(module, "threading", names)
        monkeypatch.setattr(ThreadRuntime, "now", lambda self: sim.now)
        monkeypatch.setattr(thread_runtime, "_default_loop", lambda: Loop(sim))

    return put


@pytest.mark.timeout(0)
@pytest.mark.parametrize("stall", [0.0, 0.02])
def test_calls_accepted_are_made(enter: Callable[[Sim], None], stall: float) -> None:
    """Whatever threads acquire, call, release and join: no accepted call gets lost."""

    def scenario(sim: Sim) -> None:
        enter(sim)
        rng = random.Random(sim.seed)
        runtime = ThreadRuntime()
        made: list[Any] = []

        def use(name: str) -> None:
            for turn in range(2):
                lease = runtime.acquire()
                if rng.random() < 0.5:
                    lease.call_soon(lease.release)  # as a component does, while others call
                accepted = [
                    (name, turn, number)
                    for number in range(rng.randint(0, 3))
                    if lease.call_soon(made.append, (name, turn, number))
                ]
                lease.release()
                assert not lease.call_soon(made.append, "too late")
                assert lease.join(None)
                mine = [one for one in made if one[:2] == (name, turn)]
                if lease.was_last:  # type: ignore[attr-defined]  # of ThreadLease
                    assert mine == accepted

        threads = [sim.thread(use, name) for name in "abc"]
        for thread in threads:
            thread.join(500.0)
        sim.advance(60.0)
        assert len(made) == len(set(made))
        assert len([one for one in baton_of(sim).alive() if one.name == "rxplus"]) == 0

    explore(scenario, range(FIRST, FIRST + COUNT), stall=stall)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("stall", [0.0, 0.02])
def test_clients_share_and_leave_a_thread(enter: Callable[[Sim], None], stall: float) -> None:
    """Clients on one runtime are made and closed by several threads; its thread ends with them."""

    def scenario(sim: Sim) -> None:
        enter(sim)
        runtime = ThreadRuntime()

        def use(number: int) -> None:
            client = RxWSClient(
                {"host": "nowhere", "port": 1, "path": "/"},
                runtime=runtime,
                transport=Nowhere(),
                retry=Retry(initial=0.1),
                name=f"client {number}",
            )
            seen = sim.record(client)
            client.on_next("lost")
            assert client.close(500.0)
            assert seen.completed
            assert client.health().losses == {"disconnected": 1} or client.health().losses == {
                "closed": 1
            }

        for thread in [sim.thread(use, number) for number in range(3)]:
            thread.join(500.0)
        sim.advance(60.0)
        assert [one.name for one in baton_of(sim).alive()] == ["loop"]

    explore(scenario, range(FIRST, FIRST + COUNT), stall=stall)
