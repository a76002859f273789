"""Transports by name, and what is said when there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from rxplus import RxWSClient, RxWSClientGroup, RxWSServer, WebSocketsTransport
from rxplus.transports.named import transport_of
from rxplus.transports.picows import PicowsTransport

ADDRESS = {"host": "127.0.0.1", "port": 0}

MAKERS = [
    pytest.param(lambda **options: RxWSServer(ADDRESS, **options), id="server"),
    pytest.param(lambda **options: RxWSClient({**ADDRESS, "path": "/"}, **options), id="client"),
    pytest.param(lambda **options: RxWSClientGroup(ADDRESS, **options), id="group"),
]


@pytest.mark.parametrize(
    ("given", "kind"),
    [(None, WebSocketsTransport), ("websockets", WebSocketsTransport), ("picows", PicowsTransport)],
)
def test_transport_of_a_name(given: Any, kind: type) -> None:
    """Each name stands for a transport, and no name for the default one."""
    assert type(transport_of(given)) is kind


def test_transport_of_an_object_is_the_object() -> None:
    """A transport of the user's own is taken as it is."""
    mine = WebSocketsTransport()
    assert transport_of(mine) is mine


@pytest.mark.parametrize("make", MAKERS)
def test_unknown_transport_is_valueerror(make: Callable[..., object]) -> None:
    """A name that is not known is refused at once, with those that are."""
    expected = r"transport must be one of \['picows', 'websockets'\], or an object; got 'tcp'"
    with pytest.raises(ValueError, match=expected):
        make(transport="tcp")


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("wrong", [1, b"picows", WebSocketsTransport])
def test_what_is_no_transport_is_typeerror(make: Callable[..., object], wrong: object) -> None:
    """Something else, or the class where an object is due, is refused at once."""
    with pytest.raises(TypeError, match=r"^transport must be a Transport, a name or None, got "):
        make(transport=wrong)


@pytest.mark.parametrize("make", MAKERS)
def test_transport_that_is_not_installed(
    make: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transport whose package is missing says what to install."""
    for name in [name for name in sys.modules if name.startswith("rxplus.transports.picows")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "picows", None)
    with pytest.raises(ImportError, match=r"'picows' .*: pip install rxplus\[fast\]$") as caught:
        make(transport="picows")
    assert isinstance(caught.value.__cause__, ImportError)
