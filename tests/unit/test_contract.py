"""The contract's own tools, and its list of cases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from benches import MemoryBench

from rxplus_testing.contract import TransportContract, case, raises, refuses, same

CASES = {
    "connect": (
        "refused_when_nobody_listens, succeeds_when_bound, port_in_use_is_oserror, "
        "reject_status_surfaces, handshake_timeout, cancel_leaves_nothing, "
        "path_query_headers_reach_server, subprotocol_choice, ephemeral_port_reported, "
        "refused_after_stop"
    ),
    "data": (
        "text_bytes_types_preserved, empty_message_delivered, bad_type_typeerror, order_1000, "
        "order_under_jitter, full_duplex, message_1mib, fragments_are_one_message, "
        "bad_utf8_closes_1007, over_max_size_1009, max_size_boundary_ok, "
        # A transport takes nothing that could change; WSBytes copies.
        "mutable_buffer_is_refused"
    ),
    "concurrency": (
        "cancel_loses_nothing, sends_are_whole, foreign_thread_use_raises, batch_is_in_order"
    ),
    "backpressure": (
        "slow_reader_raises_high_mark, drained_is_signalled, pending_send_fails_on_abort, "
        "receive_is_bounded, pause_reading_stops_delivery"
    ),
    "close": (
        "code_and_reason_both_sides, app_codes_pass, queued_before_close_delivered, "
        "local_close_wakes_reader, peer_close_wakes_reader, send_after_close_raises, idempotent, "
        "simultaneous_close_ends, timeout_bounds_silent_peer, cancelled_close_still_closes, "
        "handler_return_1000, handler_error_1011, abort_is_1006, partial_message_dropped_on_abort"
    ),
    "liveness": "keepalive_timeout_sends_1011, latency_reported",
    "server": "stop_sends_1001, restart_same_port, stop_during_handshake, nothing_left_running",
}
"""The cases that every contract of this kind must have; ours has more."""


def test_contract_has_every_case() -> None:
    """Each of the cases is there, under its name."""
    wanted = {f"test_{part}_{name}" for part in CASES for name in CASES[part].split(", ")}
    assert wanted - set(dir(TransportContract)) == set()


class Bench(MemoryBench):
    """Cases that are wrong."""

    time_limit = 5.0

    @case
    async def hang(self) -> None:
        """Wait for ever, though not for nothing."""
        asyncio.get_running_loop().call_later(100.0, lambda: None)
        await asyncio.Event().wait()

    @case
    async def time_out(self) -> None:
        """Fail with an error of its own that looks like the limit's."""
        raise TimeoutError("its own")

    @case
    async def leave_a_task(self) -> None:
        """Leave something behind."""
        self.task = asyncio.ensure_future(asyncio.sleep(100))

    @case
    async def fail_unheard(self) -> None:
        """Fail where only the loop hears it."""
        asyncio.get_running_loop().call_soon(int, "x")

    @case
    async def connect_and_forget(self) -> None:
        """Leave what a site opened, which drops it."""
        async with self.site() as site:
            listener = await site.listen()
            client = await site.transport.connect(site.endpoint(listener))
            site.adopt(client).start()
            await site.server_end()


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("hang", AssertionError, "still waits after 5.0 s"),
        ("time_out", TimeoutError, "its own"),
        ("leave_a_task", AssertionError, "tasks left"),
        ("fail_unheard", AssertionError, "invalid literal"),
    ],
)
def test_case_fails(name: str, error: type[Exception], text: str) -> None:
    """A case that hangs, leaks or fails unheard says so."""
    with pytest.raises(error, match=text):
        getattr(Bench(), name)()


def test_raises_and_refuses_say_what_happened() -> None:
    """Nothing, or another error, is a failed assertion."""

    async def fail() -> None:
        raise KeyError("other")

    async def succeed() -> None:
        """Do nothing."""

    def run(coro: Any) -> None:
        asyncio.run(raises(ValueError, coro))

    for call in (lambda: run(fail()), lambda: refuses(ValueError, {}.__getitem__, "other")):
        with pytest.raises(AssertionError, match=r"ValueError was not raised, but KeyError"):
            call()
    for call in (lambda: run(succeed()), lambda: refuses(ValueError, int, "1")):
        with pytest.raises(AssertionError, match=r"ValueError was not raised$"):
            call()


@pytest.mark.parametrize(
    ("came", "told"),
    [
        ([1, 2], "2 came of 3, the same as far as they go"),
        ([1, 2, 3, 4], "4 came of 3, the same as far as they go"),
        ([1, 5, 3], "number 1 is 5, not 2"),
        ([1, "x" * 100, 3], f"number 1 is '{'x' * 59}... (102 characters), not 2"),
    ],
)
def test_same_tells_where_the_difference_is(came: list[object], told: str) -> None:
    """A difference among a thousand large messages is one line, and found at once."""
    same([1, 2, 3], [1, 2, 3])
    with pytest.raises(AssertionError) as caught:
        same(came, [1, 2, 3])
    assert str(caught.value) == told
    with pytest.raises(AssertionError, match="too early: number 0"):
        same([2], [1], "too early")
