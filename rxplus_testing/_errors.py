"""What a simulation raises.

::

    Exception
    └── SimError
        ├── SimTimeout          it did not happen within the virtual time allowed
        ├── SimDeadlock         it cannot happen any more: nothing is left to run
        ├── ExplorationError    a seed was found under which a scenario fails
        ├── InvariantError      what must always hold did not
        ├── LeakError           something was left open at the end
        └── ForeignThreadError  a thread came in that the simulation does not control
"""

from __future__ import annotations

__all__ = [
    "ExplorationError",
    "ForeignThreadError",
    "InvariantError",
    "LeakError",
    "SimDeadlock",
    "SimError",
    "SimTimeout",
]


class SimError(Exception):
    """Base of what a simulation raises about itself."""


class SimTimeout(SimError):  # noqa: N818 - the name that test authors look for
    """What was waited for did not happen within the virtual time allowed."""


class SimDeadlock(SimError):  # noqa: N818 - the name that test authors look for
    """What is waited for can never happen: the waiter itself is in the way, or nothing runs."""


class ExplorationError(SimError, AssertionError):
    """A seed was found under which a scenario fails."""


class InvariantError(SimError, AssertionError):
    """What was given to :meth:`Sim.always` did not hold."""


class LeakError(SimError):
    """A simulation was closed while something was still open, or had failed unheard."""


class ForeignThreadError(SimError, RuntimeError):
    """A thread used the simulation that the simulation does not control."""
