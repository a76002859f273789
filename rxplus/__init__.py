"""Reactive WebSockets for ordinary, synchronous Python.

A server, a client and a group of clients are each a ReactiveX Subject:
subscribe to receive, ``on_next`` to send. asyncio runs in a background thread.
"""

from rxplus._core.lifecycle import ConnectionState, ConnectionStatus
from rxplus._core.losses import Loss, LossReason
from rxplus._core.stats import Health
from rxplus._engine.thread_runtime import ThreadRuntime
from rxplus.client import RxWSClient
from rxplus.config import (
    TLS,
    Authenticator,
    Buffer,
    ConnConfig,
    Handshake,
    Limits,
    Overflow,
    Retry,
    Security,
    Timeouts,
)
from rxplus.datatypes import WSBytes, WSDatatype, WSJson, WSObject, WSStr, wsdt_factory
from rxplus.delivery import Delivery, Level
from rxplus.errors import (
    BufferFullError,
    CertificateError,
    ComponentClosedError,
    ConnectError,
    ConnectionClosedError,
    ConnectTimeoutError,
    DecodeError,
    DeliveryUnsupportedError,
    HandshakeRejectedError,
    InvalidEndpointError,
    ProtocolViolationError,
    RxException,
    RxPlusError,
    SessionTakenError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    TransportError,
    UnsafePickleWarning,
    WouldDeadlockError,
)
from rxplus.group import RxWSClientGroup
from rxplus.handshake import Address, Headers, HeadersLike, Request, Response
from rxplus.peer import Peer
from rxplus.runtime import BeginExit, Event, Lease, Lock, Runtime
from rxplus.security import basic_auth, bearer_auth
from rxplus.server import RxWSServer
from rxplus.store import Store, Stored
from rxplus.tagged import TaggedData, tag, tag_filter, untag
from rxplus.telemetry import Telemetry
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
from rxplus.transports.websockets import WebSocketsTransport

__version__ = "0.1.0"

__all__ = [
    # components
    "RxWSServer",
    "RxWSClient",
    "RxWSClientGroup",
    "Peer",
    # values with a path
    "TaggedData",
    "tag",
    "untag",
    "tag_filter",
    # datatypes
    "WSDatatype",
    "WSStr",
    "WSBytes",
    "WSObject",
    "WSJson",
    "wsdt_factory",
    # configuration
    "ConnConfig",
    "Retry",
    "Timeouts",
    "Buffer",
    "Overflow",
    "Delivery",
    "Level",
    "Limits",
    "Handshake",
    "Security",
    "TLS",
    "Authenticator",
    "basic_auth",
    "bearer_auth",
    # what components tell
    "ConnectionState",
    "ConnectionStatus",
    "Loss",
    "LossReason",
    "Health",
    "Telemetry",
    # errors
    "RxPlusError",
    "RxException",
    "ComponentClosedError",
    "WouldDeadlockError",
    "BufferFullError",
    "DecodeError",
    "StoreError",
    "StoreFullError",
    "StoreLockedError",
    "StoreDamagedError",
    "TransportError",
    "ConnectionClosedError",
    "ProtocolViolationError",
    "DeliveryUnsupportedError",
    "SessionTakenError",
    "ConnectError",
    "ConnectTimeoutError",
    "HandshakeRejectedError",
    "CertificateError",
    "InvalidEndpointError",
    "UnsafePickleWarning",
    # what survives the process
    "Store",
    "Stored",
    # the seams
    "Transport",
    "Connection",
    "Listener",
    "Receiver",
    "BatchReceiver",
    "ClientEndpoint",
    "ServerEndpoint",
    "WireOptions",
    "CloseInfo",
    "Payload",
    "OnRequest",
    "OnConnection",
    "Request",
    "Response",
    "Headers",
    "HeadersLike",
    "Address",
    "WebSocketsTransport",
    "Runtime",
    "Lease",
    "Lock",
    "BeginExit",
    "Event",
    "ThreadRuntime",
    "__version__",
]
