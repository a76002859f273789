"""Remote calls: Python objects both ways, matched by a correlation id.

It shows a server that answers each peer alone, answers that are errors, a call
that is never answered and ends with a timeout, and ``WSObject`` told which
classes a message may name, since unpickling anything else could run any code.

Run it with ``python examples/object_rpc.py``; it ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import reactivex
from reactivex import Observable
from reactivex import operators as ops
from reactivex.scheduler import TimeoutScheduler
from reactivex.subject import AsyncSubject

from rxplus import Peer, RxWSClient, RxWSServer, WSObject


@dataclass(frozen=True)
class Call:
    """A request to call a function of the server."""

    id: int
    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Answer:
    """What came of the call with the same id: a value, or an error."""

    id: int
    value: Any = None
    error: str | None = None


class RemoteError(Exception):
    """The server says that a call failed."""


DATATYPE = WSObject(allow=[Call, Answer])


class Service:
    """Functions that peers may call."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        self._functions = functions
        self.server = RxWSServer({"host": "127.0.0.1", "port": 0}, DATATYPE)
        self.server.connections.subscribe(self._serve)

    def _serve(self, peer: Peer) -> None:
        """Answer a peer, and nobody else."""
        peer.pipe(ops.filter(self._is_answered), ops.map(self._answer)).subscribe(peer.on_next)

    def _is_answered(self, call: Call) -> bool:
        """Play dead for one function, so that there is something to time out."""
        return call.function != "black_hole"

    def _answer(self, call: Call) -> Answer:
        try:
            function = self._functions[call.function]
            return Answer(call.id, value=function(*call.arguments))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the caller is told
            return Answer(call.id, error=f"{type(exc).__name__}: {exc}")


class Caller:
    """Calls functions of a service, any number at a time."""

    def __init__(self, port: int) -> None:
        config = {"host": "127.0.0.1", "port": port, "path": "/rpc"}
        self.client = RxWSClient(config, DATATYPE, buffer_while_disconnected=True)
        self._ids = count(1)

    def call(self, function: str, *arguments: Any, timeout: float = 5.0) -> Observable[Any]:
        """Make a call now, and give its value, once.

        Args:
            function: its name.
            arguments: what it is called with.
            timeout: seconds, after which the value is an error.
        """
        request = Call(next(self._ids), function, arguments)
        too_late = reactivex.throw(TimeoutError(f"no answer to {function} in {timeout} s"))
        result: AsyncSubject[Any] = AsyncSubject()

        def is_the_answer(answer: Answer) -> bool:
            return answer.id == request.id

        # First listen, then ask: the answer may be quick.
        self.client.pipe(
            ops.filter(is_the_answer),
            ops.take(1),
            ops.map(_value),
            ops.timeout(timeout, too_late, TimeoutScheduler.singleton()),
        ).subscribe(result)
        self.client.on_next(request)
        return result


def _value(answer: Answer) -> Any:
    if answer.error is not None:
        raise RemoteError(answer.error)
    return answer.value


def _outcome(result: Observable[Any]) -> str:
    try:
        return f"= {result.run()}"
    except RemoteError as exc:
        return f"failed: {exc}"
    except TimeoutError:
        return "timed out"


def main() -> dict[str, str]:
    """Make some calls.

    Returns:
        What came of each.
    """
    functions = {"add": lambda a, b: a + b, "divide": lambda a, b: a / b}
    service = Service(functions)
    with service.server as server:
        caller = Caller(server.port)
        with caller.client:
            # All of them are under way at once; each finds its own answer.
            results = {
                "add(2, 3)": caller.call("add", 2, 3),
                "divide(1, 0)": caller.call("divide", 1, 0),
                "multiply(2, 3)": caller.call("multiply", 2, 3),
                "black_hole()": caller.call("black_hole", timeout=0.3),
                "add('a', 'b')": caller.call("add", "a", "b"),
            }
            return {call: _outcome(result) for call, result in results.items()}


if __name__ == "__main__":
    for call, outcome in main().items():
        print(f"{call:<16} {outcome}")
