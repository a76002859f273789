"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from typing import Any

import pytest
import uvloop
from hypothesis import settings

pytest_plugins = ["pytester"]

# The same examples on every run, so that a test which fails once fails again; nearly: hypothesis
# also tries constants of the modules that a process has imported by then. No deadline: how long
# an example takes is the machine's business.
settings.register_profile("rxplus", derandomize=True, deadline=None, print_blob=True, database=None)
settings.load_profile("rxplus")

# The first of uvloop's loops opens a pipe that the process keeps: tests which look for open files
# are not to find it.
uvloop.new_event_loop().close()

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them the
# processes that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have CI fail where a test would be skipped for want of a tool, or nobody would notice.

    What an interpreter lacks cannot be mended, nor what a machine's kernel does not let us do.
    Those reasons begin with "this Python" or "this machine", and are in the summary.
    """
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(getattr(call.excinfo and call.excinfo.value, "msg", ""))
        if not reason.startswith(("this Python", "this machine")):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} may not be skipped where CI is set: {reason}"
    return report
