"""Everything that this package takes from rxplus: public names only, in one place."""

from __future__ import annotations

import os
from pathlib import PurePath

import rxplus
from rxplus.config import Security
from rxplus.errors import (
    ConnectError,
    ConnectionClosedError,
    ConnectTimeoutError,
    HandshakeRejectedError,
    InvalidEndpointError,
    StoreError,
    StoreFullError,
)
from rxplus.handshake import Address, Headers, HeadersLike, Request, Response
from rxplus.peer import Peer
from rxplus.runtime import BeginExit, Event, Lease, Lock, Runtime
from rxplus.server import RxWSServer
from rxplus.store import Store, Stored
from rxplus.tagged import TaggedData
from rxplus.transport import (
    BatchReceiver,
    ClientEndpoint,
    CloseInfo,
    Connection,
    Listener,
    OnConnection,
    OnRequest,
    Payload,
    Receiver,
    ServerEndpoint,
    Transport,
    WireOptions,
)

__all__ = [
    "PACKAGE_PATH",
    "Address",
    "BatchReceiver",
    "BeginExit",
    "ClientEndpoint",
    "CloseInfo",
    "ConnectError",
    "ConnectTimeoutError",
    "Connection",
    "ConnectionClosedError",
    "Event",
    "HandshakeRejectedError",
    "Headers",
    "HeadersLike",
    "InvalidEndpointError",
    "Lease",
    "Listener",
    "Lock",
    "OnConnection",
    "OnRequest",
    "Payload",
    "Peer",
    "Receiver",
    "Request",
    "Response",
    "Runtime",
    "RxWSServer",
    "Security",
    "ServerEndpoint",
    "Store",
    "StoreError",
    "StoreFullError",
    "Stored",
    "TaggedData",
    "Transport",
    "WireOptions",
]

PACKAGE_PATH = f"{PurePath(rxplus.__file__).parent}{os.sep}"
"""What the names of its source files begin with."""
