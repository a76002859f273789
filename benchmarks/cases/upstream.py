"""Client to server: messages a second, by size and by number of producers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.clock import Stopwatch
from benchmarks.loops import run
from benchmarks.model import MANY_ROUNDS, Benchmark, Config, Contender, Figures, Goal
from benchmarks.sides import blocking, ours, plain
from benchmarks.tally import Tally, make_message

__all__ = ["BENCHMARKS"]

Work = tuple[int, int, int]
"""Size of a message in bytes, how many of them, and producers that share them."""


_FAST = "rxplus[fast], picows, shared loop"


def _message(work: Work) -> str | bytes:
    # What is large is hardly ever text.
    return make_message(work[0], binary=work[0] > 1024)


def _shares(config: Config, work: Work) -> tuple[int, int]:
    """Return how many messages each producer sends, and all together."""
    _, count, producers = work
    share = config.count(count // producers)
    return share, share * producers


def _figures(watch: Stopwatch, total: int, work: Work) -> Figures:
    if work[0] < 2**16:
        return watch.rate(total)
    return {"MB/s": total * work[0] / watch.wall / 1e6, "CPU us/msg": 1e6 * watch.cpu / total}


def _plain(work: Work, config: Config) -> Figures:
    message = _message(work)
    share, total = _shares(config, work)

    async def main() -> Figures:
        done = asyncio.Event()
        tally = Tally(message, total, done.set)
        async with plain.pair(plain.sink(tally)) as client:

            async def produce() -> None:
                for _ in range(share):
                    await client.send(message)

            with Stopwatch() as watch:
                if work[2] == 1:
                    await produce()
                else:
                    await asyncio.gather(*(produce() for _ in range(work[2])))
                await done.wait()
        tally.check()
        return _figures(watch, total, work)

    return run(config, main())


def _ours(shared: bool, work: Work, config: Config) -> Figures:
    message = _message(work)
    share, total = _shares(config, work)
    done = threading.Event()
    tally = Tally(message, total, done.set)
    datatype = "string" if isinstance(message, str) else "bytes"
    with ours.pair(config, shared=shared, datatype=datatype) as (server, client):
        server.subscribe(lambda tagged: tally(tagged.data))

        def produce() -> None:
            for _ in range(share):
                client.on_next(message)

        with Stopwatch() as watch:
            _on_threads(produce, work[2])
            assert done.wait(ours.LIMIT)
    tally.check()
    return _figures(watch, total, work)


def _fast(work: Work, config: Config) -> Figures:
    """As with ``rxplus[fast]`` and ``transport="picows"``."""
    return _ours(True, work, replace(config, transport="picows", uvloop=True))


def _blocking(
    pair: Callable[[blocking.Handler], Any], send: str, work: Work, config: Config
) -> Figures:
    message = _message(work)
    share, total = _shares(config, work)
    done = threading.Event()
    tally = Tally(message, total, done.set)
    with pair(blocking.sink(tally)) as client:
        send_one = getattr(client, send)

        def produce() -> None:
            for _ in range(share):
                send_one(message)

        with Stopwatch() as watch:
            _on_threads(produce, work[2])
            assert done.wait(ours.LIMIT)
    tally.check()
    return _figures(watch, total, work)


def _on_threads(produce: Callable[[], None], number: int) -> None:
    """Run producers at the same time; one runs on this thread."""
    others = [threading.Thread(target=produce) for _ in range(number - 1)]
    for thread in others:
        thread.start()
    produce()
    for thread in others:
        thread.join()


def _websocket_client_send(work: Work) -> str:
    return "send" if isinstance(_message(work), str) else "send_binary"


def _benchmark(
    name: str, title: str, work: Work, goals: tuple[Goal, ...] = (), group: str = "goals"
) -> Benchmark:
    of_websocket_client = partial(
        _blocking, blocking.websocket_client_pair, _websocket_client_send(work), work
    )
    return Benchmark(
        name=name,
        title=title,
        group=group,
        contenders=(
            Contender("websockets", partial(_plain, work)),
            Contender("rxplus, two loops", partial(_ours, False, work)),
            Contender("rxplus, shared loop", partial(_ours, True, work)),
            Contender(_FAST, partial(_fast, work)),
            Contender("websockets.sync", partial(_blocking, blocking.pair, "send", work)),
            Contender("websocket-client", of_websocket_client),
        ),
        goals=goals,
    )


def _faster(figure: str, limit: float) -> tuple[Goal, ...]:
    names = ("rxplus, two loops", "rxplus, shared loop")
    return tuple(Goal(contender=name, figure=figure, limit=limit) for name in names)


_WORDS = "client to server"

_PICOWS = Goal(contender=_FAST, figure="msg/s", limit=5.0)

BENCHMARKS = (
    replace(
        _benchmark(
            "upstream-64B",
            f"{_WORDS}, 64 B text, one thread",
            (64, 20_000, 1),
            (*_faster("msg/s", 1.5), _PICOWS),
        ),
        rounds=MANY_ROUNDS,
    ),
    _benchmark(
        "producers-8", f"{_WORDS}, 64 B text, 8 producers", (64, 20_000, 8), _faster("msg/s", 1.5)
    ),
    _benchmark("upstream-1MiB", f"{_WORDS}, 1 MiB binary", (2**20, 300, 1), _faster("MB/s", 0.95)),
    _benchmark("upstream-1KiB", f"{_WORDS}, 1 KiB text", (1024, 15_000, 1), group="sizes"),
    _benchmark("upstream-64KiB", f"{_WORDS}, 64 KiB binary", (2**16, 1_000, 1), group="sizes"),
    _benchmark(
        "producers-64", f"{_WORDS}, 64 B text, 64 producers", (64, 20_000, 64), group="producers"
    ),
)
