"""What all tests share."""

from __future__ import annotations

import signal

import uvloop
from hypothesis import settings

pytest_plugins = ["pytester"]

# The same examples on every run: a test that fails once fails again. No deadline: how long an
# example takes is the machine's business.
settings.register_profile("rxplus", derandomize=True, deadline=None, print_blob=True, database=None)
settings.load_profile("rxplus")

# The first of uvloop's loops opens a pipe that the process keeps: tests which look for open files
# are not to find it.
uvloop.new_event_loop().close()

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them the
# processes that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
