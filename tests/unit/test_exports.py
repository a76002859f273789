"""The public names: what users import, and what each of them says about itself."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import rxplus
import rxplus.config
import rxplus.handshake
import rxplus.runtime
import rxplus.transport
import rxplus.ws

PUBLIC = {
    # components
    *("RxWSServer", "RxWSClient", "RxWSClientGroup", "Peer"),
    # values with a path
    *("TaggedData", "tag", "untag", "tag_filter"),
    # datatypes
    *("WSDatatype", "WSStr", "WSBytes", "WSObject", "WSJson", "wsdt_factory"),
    # configuration
    *("ConnConfig", "Retry", "Timeouts", "Buffer", "Overflow", "Limits", "Handshake"),
    *("Delivery", "Level"),
    *("Security", "TLS", "Authenticator", "basic_auth", "bearer_auth"),
    # what components tell
    *("ConnectionState", "ConnectionStatus", "Loss", "LossReason", "Health", "Telemetry"),
    # errors
    *("RxPlusError", "RxException", "ComponentClosedError", "WouldDeadlockError"),
    *("BufferFullError", "DecodeError", "TransportError", "ConnectionClosedError"),
    *("ConnectError", "ConnectTimeoutError", "HandshakeRejectedError", "CertificateError"),
    *("InvalidEndpointError", "UnsafePickleWarning"),
    *("ProtocolViolationError", "DeliveryUnsupportedError", "SessionTakenError"),
    *("StoreError", "StoreFullError", "StoreLockedError", "StoreDamagedError"),
    # what survives the process
    *("Store", "Stored"),
    # the seams
    *(
        "Transport",
        "Connection",
        "Listener",
        "Receiver",
        "BatchReceiver",
        "ClientEndpoint",
        "ServerEndpoint",
    ),
    *("WireOptions", "CloseInfo", "Payload", "OnRequest", "OnConnection", "Request"),
    *("Response", "Headers", "HeadersLike", "Address", "WebSocketsTransport"),
    *("Runtime", "Lease", "Lock", "Event", "BeginExit", "ThreadRuntime"),
    "__version__",
}

HOMES_OF_ALIASES = [rxplus.config, rxplus.handshake, rxplus.runtime, rxplus.transport]

THE_PLANS = {
    *("RxWSServer", "RxWSClient", "RxWSClientGroup", "TaggedData", "tag", "untag", "tag_filter"),
    *("WSDatatype", "WSStr", "WSBytes", "WSObject", "wsdt_factory", "RxException"),
}
"""What code of the plan's era imports."""


def modules() -> list[str]:
    """Return every module of the package, by name."""
    found = pkgutil.walk_packages(rxplus.__path__, "rxplus.")
    return ["rxplus", *(one.name for one in found if not one.name.endswith("__main__"))]


def test_rxplus_exports() -> None:
    """A public name comes or goes only together with this list."""
    assert set(rxplus.__all__) == PUBLIC
    assert len(rxplus.__all__) == len(PUBLIC)


def test_rxplus_exports_all_that_it_imports() -> None:
    """No name is public by accident, for want of an underscore or a line in ``__all__``."""
    loaded = {
        name
        for name, value in vars(rxplus).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert loaded == PUBLIC - {"__version__"}


@pytest.mark.parametrize("module", [rxplus, rxplus.ws])
def test_exports_can_be_imported(module: ModuleType) -> None:
    """``from ... import *`` finds every name in ``__all__``."""
    for name in module.__all__:
        assert hasattr(module, name), name


def test_exports_of_the_plan() -> None:
    """Imports of the plan's era keep working, from either path, and mean the same."""
    assert set(rxplus.__all__) >= THE_PLANS
    assert set(rxplus.ws.__all__) >= THE_PLANS
    for name in THE_PLANS:
        assert getattr(rxplus.ws, name) is getattr(rxplus, name)


def test_ws_exports() -> None:
    """The plan's import path has the plan's names, the two internal ones included."""
    assert set(rxplus.ws.__all__) == THE_PLANS | {"WSJson", "WS_Channels", "_validate_conn_cfg"}


def test_ws_validate_conn_cfg() -> None:
    """The plan's check, by its name, signature and message."""
    rxplus.ws._validate_conn_cfg({"host": "h", "port": 1}, ["host", "port"])
    with pytest.raises(ValueError, match=r"^conn_cfg missing required keys: \['host', 'path'\]$"):
        rxplus.ws._validate_conn_cfg({"port": 1}, required_keys=["host", "port", "path"])


def test_ws_channels() -> None:
    """The plan's class, made as the plan makes it."""
    channels: rxplus.ws.WS_Channels[object] = rxplus.ws.WS_Channels(datatype=rxplus.WSStr())
    assert isinstance(channels.datatype, rxplus.WSStr)


def _documented_assignments(module: ModuleType) -> set[str]:
    """Return the names of a module that are assigned and then described by a string."""
    body = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body
    names = set()
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            described = isinstance(following, ast.Expr) and isinstance(
                following.value, ast.Constant
            )
            if described:
                names.add(statement.target.id)
    return names


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_exports_have_docstrings(name: str) -> None:
    """Each public name says what it is; a type alias by the string that follows it."""
    value = getattr(rxplus, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        # Its own: a dataclass, a tuple and a subclass have one in any case.
        text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
        assert text
        assert not text.startswith(f"{name}("), "made by dataclass or NamedTuple"
    else:
        assert any(name in _documented_assignments(home) for home in HOMES_OF_ALIASES)


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_exports_document_their_methods(name: str) -> None:
    """Each public method and property of a public class says what it does."""
    value = getattr(rxplus, name)
    if not inspect.isclass(value):
        return
    for key, member in vars(value).items():
        member = getattr(member, "__func__", member)
        if key.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
            continue
        # A method that overrides one is described where it was first.
        assert inspect.getdoc(getattr(value, key)) or inspect.getdoc(member), f"{name}.{key}"


@pytest.mark.parametrize("name", modules())
def test_modules_say_what_they_are(name: str) -> None:
    """Each module has a docstring, and exports what it says it exports."""
    module = importlib.import_module(name)
    assert module.__doc__
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), exported


def test_version_is_a_release() -> None:
    """The version is three numbers, which the build reads."""
    assert all(part.isdigit() for part in rxplus.__version__.split("."))
