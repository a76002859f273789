"""The exceptions of rxplus.

::

    Exception
    └── RxPlusError
        ├── RxException            a failure on ``errors`` or ``on_error``, with its source
        ├── ComponentClosedError   use after ``close()``        (also a RuntimeError)
        ├── WouldDeadlockError     a blocking call on the loop thread  (also a RuntimeError)
        ├── BufferFullError        a full buffer that may not wait or drop
        ├── DecodeError            a peer's message that the datatype refuses
        ├── StoreError             a store cannot be read or written
        │   ├── StoreFullError         ... since there is no room
        │   ├── StoreLockedError       ... since another process has it open
        │   └── StoreDamagedError      ... since its file is not what it should be
        └── TransportError
            ├── ConnectionClosedError      the connection is not open (any more)
            ├── ProtocolViolationError     the peer broke the session protocol
            ├── DeliveryUnsupportedError   the peer cannot deliver as was asked for
            ├── SessionTakenError          another connection took the session over
            └── ConnectError               a connection could not be opened
                ├── ConnectTimeoutError    ... in time              (also a TimeoutError)
                ├── HandshakeRejectedError ... the server answered with an HTTP status
                ├── CertificateError       ... its certificate was refused
                └── InvalidEndpointError   ... the address cannot be right

Misuse that Python has a name for raises that name: ``TypeError`` for a payload
of the wrong type, ``ValueError`` for a configuration that cannot be right.
"""

from __future__ import annotations

__all__ = [
    "BufferFullError",
    "CertificateError",
    "ComponentClosedError",
    "ConnectError",
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "DecodeError",
    "DeliveryUnsupportedError",
    "HandshakeRejectedError",
    "InvalidEndpointError",
    "ProtocolViolationError",
    "RxException",
    "RxPlusError",
    "SessionTakenError",
    "StoreDamagedError",
    "StoreError",
    "StoreFullError",
    "StoreLockedError",
    "TransportError",
    "UnsafePickleWarning",
    "WouldDeadlockError",
]


class RxPlusError(Exception):
    """Base of every exception that rxplus defines."""


class RxException(RxPlusError):  # noqa: N818 - its public name since the plan
    """A failure, and where it happened.

    Args:
        exception: what went wrong; also set as ``__cause__``.
        source: the component it happened in, by name.
        note: what the component was doing.
    """

    def __init__(self, exception: BaseException, source: str = "", note: str = "") -> None:
        super().__init__(exception, source, note)
        self.exception = exception
        self.source = source
        self.note = note
        self.__cause__ = exception

    def __str__(self) -> str:
        return f"<{self.source}> {self.note}: {self.exception}"


class ComponentClosedError(RxPlusError, RuntimeError):
    """The component was used after it had been closed."""


class WouldDeadlockError(RxPlusError, RuntimeError):
    """A blocking call was made on the loop thread that would have to serve it."""


class BufferFullError(RxPlusError):
    """A buffer is full and its policy neither waits (any longer) nor drops."""


class DecodeError(RxPlusError):
    """A message arrived that the datatype could not turn into a value."""


class StoreError(RxPlusError):
    """A store cannot be read or written. What it holds is as it was before."""


class StoreFullError(StoreError):
    """There is no room in a store, on the disk or within its limits."""


class StoreLockedError(StoreError):
    """Another process, or another store of this one, has the store open."""


class StoreDamagedError(StoreError):
    """A store's file is not what it was. It has been left as it is."""


class TransportError(RxPlusError):
    """Base of what a transport raises."""


class ConnectionClosedError(TransportError):
    """The connection is closed, or closing, and takes no more messages.

    Args:
        code: the close code (RFC 6455, section 7.4); ``None`` while it is not known.
        reason: the text that came with it.
    """

    def __init__(self, code: int | None = None, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        if self.code is None:
            return self.reason or "connection is closing"
        return f"connection closed with code {self.code}" + (
            f": {self.reason}" if self.reason else ""
        )


class ProtocolViolationError(TransportError):
    """The peer said something that the session protocol does not let it say."""


class DeliveryUnsupportedError(TransportError):
    """The peer cannot deliver as was asked for: it does not speak the session protocol."""


class SessionTakenError(TransportError):
    """Another connection has taken the session over."""


class ConnectError(TransportError):
    """A connection could not be opened."""


class ConnectTimeoutError(ConnectError, TimeoutError):
    """A connection could not be opened within the connect timeout."""


class HandshakeRejectedError(ConnectError):
    """The server refused the opening handshake with an HTTP response.

    Args:
        status: the HTTP status code, such as 401.
        body: what the server said, for people.
    """

    def __init__(self, status: int, body: str = "") -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body

    def __str__(self) -> str:
        said = f": {self.body.strip()}" if self.body.strip() else ""
        return f"server rejected the WebSocket handshake with HTTP {self.status}{said}"


class CertificateError(ConnectError):
    """The peer's TLS certificate was not accepted."""


class InvalidEndpointError(ConnectError):
    """The address, header or subprotocol to connect with is not valid."""


class UnsafePickleWarning(UserWarning):
    """Pickle is read from a peer that is neither local nor authenticated."""
