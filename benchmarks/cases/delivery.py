"""What delivery costs that is more than an attempt."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.clock import Stopwatch
from benchmarks.model import Benchmark, Config, Contender, Figures, Goal
from benchmarks.sides import ours
from benchmarks.tally import Tally, make_message
from rxplus import Delivery
from rxplus.stores import SQLiteStore

__all__ = ["BENCHMARKS"]

_NONE = "rxplus, at most once"
_ACKNOWLEDGED = "rxplus, acknowledged"
_DURABLE = "rxplus, durable"

_COUNT = 30_000
_DURABLE_COUNT = 2_000


@contextmanager
def _levels(level: str) -> Iterator[tuple[Delivery, Delivery]]:
    """What the server promises, and the client."""
    with ExitStack() as stack:
        if level == _NONE:
            yield Delivery.at_most_once(), Delivery.at_most_once()
        elif level == _ACKNOWLEDGED:
            yield Delivery.acknowledged(), Delivery.acknowledged()
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stores = [stack.enter_context(SQLiteStore(folder / name)) for name in ("s", "c")]
            yield Delivery.durable(stores[0]), Delivery.durable(stores[1])


def _upstream(level: str, config: Config) -> Figures:
    message = make_message(64)
    count = config.count(_DURABLE_COUNT if level == _DURABLE else _COUNT)
    done = threading.Event()
    tally = Tally(message, count, done.set)
    runtime = ours.runtime_of(config)
    with (
        _levels(level) as (promised, asked),
        ours.server(config, runtime, delivery=promised) as server,
        ours.client(config, server, runtime, delivery=asked) as client,
    ):
        server.subscribe(lambda tagged: tally(tagged.data))
        with Stopwatch() as watch:
            for _ in range(count):
                client.on_next(message)
            assert done.wait(ours.LIMIT)
    tally.check()
    return watch.rate(count)


BENCHMARKS = (
    Benchmark(
        name="delivery",
        title="client to server, 64 B text, by level of delivery; one shared loop",
        contenders=tuple(
            Contender(level, partial(_upstream, level))
            for level in (_NONE, _ACKNOWLEDGED, _DURABLE)
        ),
        goals=(Goal(contender=_ACKNOWLEDGED, figure="msg/s", limit=0.7, versus=_NONE),),
        rounds=5,
        group="delivery",
    ),
)
