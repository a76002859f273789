"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# The same examples on every run: a test that fails once fails again. No deadline: how long an
# example takes is the machine's business.
settings.register_profile("rxplus", derandomize=True, deadline=None, print_blob=True, database=None)
settings.load_profile("rxplus")
