"""One daemon thread with an asyncio loop: start, hand over, stop, join."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from rxplus._engine.outside import outside_of

__all__ = ["LoopFactory", "LoopThread"]

_logger = logging.getLogger("rxplus")

LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop]


class LoopThread:
    """One thread and its loop, from the start to the end of both.

    Raises:
        RuntimeError: it cannot be started.
    """

    __slots__ = (
        "_accepting",
        "_ended",
        "_gate",
        "_ident",
        "_outside",
        "_stopping",
        "_thread",
        "leases",
        "loop",
    )

    def __init__(self, name: str, loop_factory: LoopFactory) -> None:
        # The loop is made here, not on the thread, so that a failure reaches the caller.
        try:
            self.loop = loop_factory()
            try:
                self._outside = outside_of(self.loop)
            except BaseException:
                self.loop.close()
                raise
        except OSError as exc:
            raise RuntimeError("cannot make an event loop") from exc
        self.loop.set_exception_handler(_report)
        # How many hold it; guarded by the runtime's lock.
        self.leases = 0
        # Makes "may still be called" and "is handed over" one step, so that no call gets lost
        # between the loop's last turn and its closing. Reentrant, as the runtime's lock is.
        self._gate = threading.RLock()
        self._accepting = True
        self._stopping = False
        self._ended = threading.Event()
        # Of the thread, as long as it runs: idents are used again.
        self._ident: int | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except Exception:
            self._close()
            raise
        except BaseException:
            self.stop()  # Ctrl-C: it may have started
            raise

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def in_loop(self) -> bool:
        return threading.get_ident() == self._ident

    def call_soon(self, callback: Callable[..., object], *args: object) -> bool:
        if self.in_loop():
            if self._accepting:
                # After those of other threads that came before.
                taker = self._outside if self._outside.waiting else self.loop
                taker.call_soon(callback, *args)
            return self._accepting
        with self._gate:
            if self._accepting:
                self._outside.call_soon(callback, *args)
            return self._accepting

    def stop(self) -> None:
        self.call_soon(self._stop)

    def _stop(self) -> None:
        self._stopping = True
        self.loop.stop()

    def _is_stopped(self) -> bool:
        return self._stopping

    def join(self, timeout: float | None) -> bool:
        if not self._ended.wait(timeout):
            return False
        self._thread.join()  # it has nothing left to do
        return True

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            self._serve(until=self._is_stopped)
            self._complete(self._cancel_tasks())
            self._complete(self.loop.shutdown_asyncgens())
            self._complete(self.loop.shutdown_default_executor())
            self._finish_calls()
        finally:
            with self._gate:
                self._accepting = False
            try:
                self._close()
            finally:
                self._ident = None
                self._ended.set()

    def _close(self) -> None:
        self._outside.close()
        self.loop.close()

    def _serve(self, until: Callable[[], bool]) -> None:
        """Run the loop. A callback may not end it for all who hold it, nor stop it early."""
        while not until():
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                # asyncio lets these through; on this thread they can only come from a callback's
                # own code. Anything else is the loop's own failure, and trying again would not
                # help.
                _logger.exception("a callback tried to end the loop thread")

    def _complete(self, work: Coroutine[Any, Any, None]) -> None:
        """Do one of the last things. That it fails is no reason to leave out the next."""
        task = self.loop.create_task(work)
        task.add_done_callback(lambda _: self.loop.stop())
        self._serve(until=task.done)
        try:
            task.result()
        except BaseException:  # of any kind: a callback may have cancelled it
            _logger.warning("left undone as the loop thread ends: %r", task, exc_info=True)

    def _finish_calls(self) -> None:
        """Accept no further calls, make those accepted, and end what these began."""
        with self._gate:
            self._accepting = False
        self._stopping = False
        self._outside.call_soon(self._stop)
        self._serve(until=self._is_stopped)
        self._complete(self._cancel_tasks())

    async def _cancel_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody caught on the loop."""
    # A client's failed TLS handshake: asyncio tells of it in debug mode only.
    message = context.get("message", "unhandled exception on the loop")
    level = logging.DEBUG if message == _FAILED_ACCEPT else logging.ERROR
    details = [f"{key}: {value!r}" for key, value in context.items() if key not in _SHOWN]
    text = "\n".join((message, *details))
    _logger.log(level, "%s", text, exc_info=context.get("exception"))


_FAILED_ACCEPT = "Error on transport creation for incoming connection"
_SHOWN = frozenset(("message", "exception", "source_traceback"))
