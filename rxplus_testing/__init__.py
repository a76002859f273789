"""Tests for programs that use rxplus: no network, no sleeping, the same run each time.

The names are loaded when the first of them is asked for: pytest loads
``rxplus_testing.plugin`` before anything measures coverage, also in runs that
have nothing to do with rxplus, and this module with it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxplus_testing._api import *  # noqa: F403 - each of its names, which it lists
    from rxplus_testing._api import __all__ as __all__
else:

    def __getattr__(name):
        # Python asks for its own names, such as __path__, before there is any need for ours.
        if name.startswith("_") and name != "__all__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        api = importlib.import_module("rxplus_testing._api")
        globals().update({one: getattr(api, one) for one in ("__all__", *api.__all__)})
        try:
            return globals()[name]
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None

    def __dir__():
        return __getattr__("__all__")
