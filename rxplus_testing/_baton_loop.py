"""The virtual loop of a simulation with threads: its ``select()`` gives the baton up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVarTuple

from rxplus_testing._baton import Baton
from rxplus_testing._baton_thread import Killed, Wait
from rxplus_testing._loop import VirtualLoop
from rxplus_testing._rxplus import PACKAGE_PATH
from rxplus_testing._sites import caller_code, caller_name, caller_site

__all__ = ["BatonLoop", "BatonSelector"]

Ts = TypeVarTuple("Ts")


class BatonSelector:
    """What the loop sleeps in: the other threads run meanwhile, and time passes."""

    def __init__(self, loop: BatonLoop, baton: Baton) -> None:
        self._baton = baton
        self._idle = Wait(why="loop select", ready=loop.has_work, deadline=loop.next_due)

    def select(self, timeout: float | None) -> list[Any]:
        if timeout == 0:
            self._baton.switch("loop turn")
        else:
            self._baton.wait(self._idle)
        return []

    def get_key(self, fd: int) -> Any:
        """Tell that nothing is watched: asyncio asks when it shows a transport."""
        raise KeyError(fd)


class BatonLoop(VirtualLoop):
    """A virtual loop on a thread of its own.

    Code that has the baton may look at it and hand it calls, from whichever
    thread, since no other runs; rxplus itself may only do what it may do to a
    real loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._baton: Baton | None = None
        self._ended = False

    def _check_thread(self) -> None:
        """Let every thread that runs hand over calls, in asyncio's debug mode, too."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Take notice of a failure, but not of a callback that the simulation's end cut off."""
        if not isinstance(context.get("exception"), Killed):
            super().call_exception_handler(context)

    def begin(self, baton: Baton) -> None:
        """Start the thread."""
        self._baton = baton
        self._rest_in(BatonSelector(self, baton))
        baton.start("loop", self._serve)

    def end(self) -> None:
        """Have the thread end, once what is ready has run."""
        self._ended = True
        self.stop()

    def take_back(self) -> None:
        """Let the calling thread run it, now that its own has ended."""
        self._baton = None
        self._adopt()

    def _serve(self) -> None:
        while not self._ended:
            try:
                self.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                # From a callback: as the real loop thread does, report it and go on.
                message = "a callback tried to end the loop thread"
                self.call_exception_handler({"message": message, "exception": error})

    def has_work(self) -> bool:
        """Tell whether anything is to be done now."""
        return self._stopping or super().has_work()

    def in_callback(self) -> bool:
        """Tell whether the caller is the loop's own thread."""
        return threading.get_ident() == self._thread_id

    def check_thread(self, action: str) -> None:
        """Refuse a thread that the simulation does not control."""
        if self._baton is None:
            super().check_thread(action)
        else:
            self._baton.check_thread(action)

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Call ``callback`` soon.

        Raises:
            RuntimeError: rxplus called from another thread, which would not wake a real loop.
        """
        self._refuse_rxplus()
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call ``callback`` at ``when``.

        Raises:
            RuntimeError: as for :meth:`call_soon`.
        """
        self._refuse_rxplus()
        return super().call_at(when, callback, *args, context=context)

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Call ``callback`` soon. Any thread of the simulation."""
        baton = self._baton
        if baton is None or self.in_callback():
            return super().call_soon(callback, *args, context=context)
        point = f"call_soon in {caller_name()}"
        baton.switch(point)
        handle = super().call_soon(callback, *args, context=context)
        baton.switch(f"{point}, done")
        return handle

    def _refuse_rxplus(self) -> None:
        if self._baton is None or not self.is_running() or self.in_callback():
            return
        code = caller_code()
        if code is not None and code.co_filename.startswith(PACKAGE_PATH):
            raise RuntimeError(
                f"{caller_site()} used the loop from thread {self._baton.current.name}: "
                "only Lease.call_soon() may be called from another thread"
            )
