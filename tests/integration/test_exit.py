"""What happens to open components when the interpreter ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen

import pytest
from helpers import (
    LIMIT,
    Collector,
    client_of,
    complaints,
    data_of,
    in_state,
    python,
    serving,
)
from helpers import nothing_left as nothing_left

from rxplus import TaggedData


@contextmanager
def process(script: str, *arguments: object) -> Iterator[Popen[str]]:
    """Run a script in another interpreter, which is killed if it is still there at the end."""
    with python(script, *arguments) as child:
        try:
            yield child
        finally:
            child.kill()


def ready(child: Popen[str]) -> str:
    """Wait for the first line that a script prints."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


def interrupt(child: Popen[str]) -> str:
    """Press Ctrl-C; return what the script said on stderr."""
    child.send_signal(signal.SIGINT)
    return finish(child)[1]


def finish(child: Popen[str]) -> tuple[str, str]:
    """Wait for the end; return what the script printed, and said on stderr."""
    printed, said = child.communicate(timeout=LIMIT)
    return printed, complaints(said)


@pytest.mark.parametrize("buffering", [True, False])
def test_pending_sends_are_flushed_at_exit(buffering: bool) -> None:
    """A script that sends 1,000 messages and ends there has sent them all."""
    script = """
        import sys
        from rxplus import RxWSClient, Timeouts

        where = {"host": "127.0.0.1", "port": sys.argv[1], "path": "/"}
        buffering = sys.argv[2] == "True"
        client = RxWSClient(where, buffer_while_disconnected=buffering, timeouts=Timeouts(exit=20))
        if not buffering:
            assert client.wait_connected(20)
        for number in range(1000):
            client.on_next(str(number))
        """
    with serving() as server:
        received, errors = Collector(server), Collector(server.errors)
        with process(script, server.port, buffering) as child:
            _, said = finish(child)
        assert said == ""
        assert child.returncode == 0
        assert data_of(received.wait_for_count(1_000)) == [str(n) for n in range(1_000)]
        assert errors.values == []


def test_pending_sends_are_flushed_after_an_uncaught_exception() -> None:
    """A script that fails still sends what it had accepted; its own traceback is all it says."""
    script = """
        import sys
        from rxplus import RxWSClientGroup, TaggedData, Timeouts

        where = {"host": "127.0.0.1", "port": sys.argv[1]}
        group = RxWSClientGroup(where, buffer_while_disconnected=True, timeouts=Timeouts(exit=20))
        for number in range(100):
            group.on_next(TaggedData(f"/{number % 2}", str(number)))
        raise LookupError("the script's own")
        """
    with serving() as server:
        received = Collector(server)
        with process(script, server.port) as child:
            _, said = finish(child)
        assert said.count("Traceback") == 1
        assert said.rstrip().endswith("LookupError: the script's own")
        assert child.returncode == 1
        values = received.wait_for_count(100)
        assert sorted(int(data) for data in data_of(values)) == list(range(100))


def test_exit_without_a_server_takes_no_longer_than_it_may() -> None:
    """A script whose messages have nowhere to go ends all the same, and says nothing."""
    script = """
        from rxplus import RxWSClient, Timeouts

        where = {"host": "127.0.0.1", "port": 9, "path": "/"}
        client = RxWSClient(where, buffer_while_disconnected=True, timeouts=Timeouts(exit=0.1))
        client.on_next("never")
        """
    with process(script) as child:
        _, said = finish(child)
    assert said == ""
    assert child.returncode == 0


def test_streams_complete_at_exit_though_thread_pools_are_gone() -> None:
    """Python shuts thread pools down before components close; subscribers hear the end anyway."""
    script = """
        import sys
        from reactivex.scheduler import ThreadPoolScheduler
        from rxplus import RxWSClient, Timeouts

        where = {"host": "127.0.0.1", "port": sys.argv[1], "path": "/"}
        timeouts = Timeouts(exit=20)
        client = RxWSClient(where, scheduler=ThreadPoolScheduler(1), timeouts=timeouts)
        client.subscribe(on_completed=lambda: print("completed"))
        client.errors.subscribe(print)
        assert client.wait_connected(20)
        """
    with serving() as server, process(script, server.port) as child:
        printed, said = finish(child)
    assert "the scheduler takes no more work" in printed
    assert printed.rstrip().endswith("completed")
    assert said == ""
    assert child.returncode == 0


def test_server_closes_its_peers_at_exit() -> None:
    """A server in a script that ends sends what is queued, and says that it goes away."""
    script = """
        import threading
        from rxplus import RxWSServer, TaggedData

        server = RxWSServer({"host": "127.0.0.1", "port": 0})
        joined = threading.Event()
        server.connections.subscribe(lambda _: joined.set())
        print(server.port, flush=True)
        assert joined.wait(20)
        for number in range(1000):
            server.on_next(TaggedData("/", str(number)))
        """
    with process(script) as child:
        with client_of(int(ready(child))) as client:
            states, received = Collector(client.connection_state), Collector(client)
            states.wait_for("disconnected")
            assert received.wait_for_count(1_000) == [str(n) for n in range(1_000)]
            assert in_state(states.values, "disconnected")[0].code == 1001
        assert finish(child)[1] == ""
    assert child.returncode == 0


WAITING = {
    "event": "threading.Event().wait()",
    "wait_connected": "nobody.wait_connected()",
    "blocked on_next": "[nobody.on_next('x') for _ in range(100)]",
    "with": """
with nobody:
    threading.Event().wait()
""",
}


@pytest.mark.parametrize("where", WAITING)
def test_ctrl_c(where: str) -> None:
    """Ctrl-C ends a script with one KeyboardInterrupt, its own; peers get a proper close."""
    script = f"""
import threading
from rxplus import Buffer, Overflow, RxWSClient, RxWSServer, Timeouts

server = RxWSServer({{"host": "127.0.0.1", "port": 0}})
nobody = RxWSClient(
    {{"host": "127.0.0.1", "port": 9, "path": "/"}},
    buffer_while_disconnected=True,
    buffer=Buffer(max_messages=1, overflow=Overflow.block(None)),
    timeouts=Timeouts(close=0.05, exit=0.05),
)
server.subscribe(server.on_next)
print(server.port, flush=True)
{WAITING[where]}
"""
    with (
        process(script) as child,
        client_of(int(ready(child)), buffer_while_disconnected=True) as client,
    ):
        states, echoes = Collector(client.connection_state), Collector(client)
        client.on_next("ready")
        echoes.wait_for_count(1)
        said = interrupt(child)
        states.wait_for("disconnected")
        assert in_state(states.values, "disconnected")[0].code == 1001
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert "Exception ignored" not in said
    assert "Exception in thread" not in said
    assert child.returncode == -signal.SIGINT


def test_ctrl_c_that_is_handled() -> None:
    """A script that catches Ctrl-C and closes says nothing at all."""
    script = """
        import threading
        from rxplus import RxWSServer

        server = RxWSServer({"host": "127.0.0.1", "port": 0})
        try:
            with server:
                server.subscribe(server.on_next)
                print(server.port, flush=True)
                threading.Event().wait()
        except KeyboardInterrupt:
            assert server.health().state == "closed"
            assert threading.active_count() == 1
        """
    with (
        process(script) as child,
        client_of(int(ready(child)), buffer_while_disconnected=True) as client,
    ):
        echoes = Collector(client)
        client.on_next("ready")
        echoes.wait_for_count(1)
        said = interrupt(child)
    assert said == ""
    assert child.returncode == 0


def test_sys_exit_in_a_callback_does_not_end_the_loop() -> None:
    """sys.exit() in a subscriber is reported like any failure, and later messages arrive."""
    with serving() as server:
        errors, received = Collector(server.errors), Collector(server)

        def leave(_: TaggedData) -> None:
            raise SystemExit(3)

        server.subscribe(leave)
        with client_of(server, buffer_while_disconnected=True) as client:
            client.on_next("1")
            client.on_next("2")
            assert data_of(received.wait_for_count(2)) == ["1", "2"]
            errors.wait_for_count(2)
