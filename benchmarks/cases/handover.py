"""What a call of ``on_next`` costs the thread that makes it."""

from __future__ import annotations

import threading
import time
from functools import partial

from benchmarks.model import Benchmark, Config, Contender, Figures, Goal
from benchmarks.sides import ours
from benchmarks.tally import Tally, make_message

__all__ = ["BENCHMARKS"]


def _on_next(count: int, config: Config) -> Figures:
    """Send a burst; its messages must arrive as in every other benchmark."""
    message = make_message(64)
    total = config.count(count)
    done = threading.Event()
    tally = Tally(message, total, done.set)
    with ours.pair(config, shared=False) as (server, client):
        server.subscribe(lambda tagged: tally(tagged.data))
        send = client.on_next
        started, thread_started = time.perf_counter(), time.thread_time()
        for _ in range(total):
            send(message)
        wall, own = time.perf_counter() - started, time.thread_time() - thread_started
        assert done.wait(ours.LIMIT)
    tally.check()
    return {
        "on_next/s": total / wall,
        "on_next/s of the thread's CPU": total / own,
        "CPU us/on_next": 1e6 * own / total,
    }


_ALONE = "burst of 1,000"
_BUSY = "burst of 20,000"

BENCHMARKS = (
    Benchmark(
        name="on_next",
        title="on_next alone, connected, 64 B text",
        contenders=(
            Contender(_ALONE, partial(_on_next, 1_000)),
            Contender(_BUSY, partial(_on_next, 20_000)),
        ),
        goals=(
            Goal(
                contender=_BUSY,
                figure="on_next/s of the thread's CPU",
                limit=1_000_000,
                versus=None,
            ),
        ),
        rounds=15,
    ),
)
