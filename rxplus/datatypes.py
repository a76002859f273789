"""How values become WebSocket messages and back.

A datatype checks a value (:meth:`WSDatatype.package_type_check`), turns it into
a message (:meth:`WSDatatype.package`: ``str`` for text, ``bytes`` for binary)
and turns a message that arrived into a value (:meth:`WSDatatype.unpackage`).
All three may be called from several threads at once.
"""

from __future__ import annotations

import abc
import hashlib
import hmac
import io
import json
import pickle
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

__all__ = [
    "DatatypeLike",
    "WSBytes",
    "WSDatatype",
    "WSJson",
    "WSObject",
    "WSStr",
    "wsdt_factory",
]


class WSDatatype(abc.ABC):
    """Base of all datatypes. Subclass it for a codec of your own."""

    unsafe_from_strangers: bool = False
    """Whether reading a message from an untrusted peer can do harm."""

    @abc.abstractmethod
    def package_type_check(self, value: Any) -> None:
        """Refuse a value that cannot be sent.

        Raises:
            TypeError: it is of the wrong type.
        """

    @abc.abstractmethod
    def package(self, value: Any) -> str | bytes:
        """Turn a value into a message.

        Raises:
            TypeError: the value cannot be sent.
            ValueError: its contents cannot be sent.
        """

    @abc.abstractmethod
    def unpackage(self, frame: str | bytes) -> Any:
        """Turn a message into a value.

        Raises:
            TypeError: a text message where a binary one is due, or the reverse.
            ValueError: the contents are not what this datatype writes.
        """

    def encode(self, value: Any) -> str | bytes:
        """Check and package a value."""
        self.package_type_check(value)
        return self.package(value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class WSStr(WSDatatype):
    """Strings, as text messages."""

    def package_type_check(self, value: Any) -> None:
        if not isinstance(value, str):
            raise TypeError(f"{type(self).__name__} expects a string payload, got {_name(value)}")

    def encode(self, value: Any) -> str | bytes:
        if type(value) is str and type(self) is WSStr:
            return value  # Most messages: a tenth of what sending one costs.
        return super().encode(value)

    def package(self, value: str) -> str:
        return value

    def unpackage(self, frame: str | bytes) -> str:
        if not isinstance(frame, str):
            raise TypeError(f"{type(self).__name__} expects a text message, got a binary one")
        return frame


class WSBytes(WSDatatype):
    """Bytes, as binary messages. What arrives is always ``bytes``."""

    def package_type_check(self, value: Any) -> None:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"{type(self).__name__} expects a bytes-like object, got {_name(value)}"
            )

    def package(self, value: bytes | bytearray | memoryview) -> bytes:
        # A mutable buffer is copied here: its owner may change it before it is written.
        return value if type(value) is bytes else bytes(value)

    def unpackage(self, frame: str | bytes) -> bytes:
        if isinstance(frame, str):
            raise TypeError(f"{type(self).__name__} expects a binary message, got a text one")
        return frame


class WSJson(WSDatatype):
    """Anything that JSON can carry, as text messages. Safe with any peer.

    ``NaN`` and the infinities are refused, since JSON has none (RFC 8259, section 6).
    """

    def package_type_check(self, value: Any) -> None:
        # The top level only: package() finds the rest while it writes it.
        if not (value is None or isinstance(value, (dict, list, tuple, str, int, float))):
            raise TypeError(f"{type(self).__name__} expects a JSON value, got {_name(value)}")

    def package(self, value: Any) -> str:
        try:
            return json.dumps(value, allow_nan=False, separators=(",", ":"))
        except RecursionError as exc:
            raise ValueError(f"{type(self).__name__} cannot send so deep a value") from exc

    def unpackage(self, frame: str | bytes) -> Any:
        if not isinstance(frame, str):
            raise TypeError(f"{type(self).__name__} expects a text message, got a binary one")
        try:
            return json.loads(frame, parse_constant=_refuse_constant)
        except RecursionError as exc:
            raise ValueError(f"{type(self).__name__} cannot read so deep a value") from exc


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class WSObject(WSDatatype):
    """Any Python object, by pickle, as binary messages.

    Unpickling a message runs code that its sender chose: without ``key`` or
    ``allow``, whoever can reach this end can take over this process.

    Args:
        allow: the only classes and functions that a message may name, each as
            itself or as ``"module.qualname"``; builtin containers, strings,
            bytes, ints, floats and bools need no naming. ``None`` allows everything.
        key: a secret that both ends share; messages are signed with it
            (HMAC-SHA256) and refused, before they are unpickled, when the
            signature is wrong. A message can still be replayed.
    """

    def __init__(
        self,
        *,
        allow: Collection[type | Callable[..., Any] | str] | None = None,
        key: bytes | None = None,
    ) -> None:
        if key is not None:
            _check_key(key)
        if isinstance(allow, str):
            raise TypeError(f"WSObject allow must be a collection of names, got {allow!r}")
        self._allow = None if allow is None else frozenset(map(_qualified, allow))
        self._key = key
        self.unsafe_from_strangers = allow is None and key is None

    def package_type_check(self, value: Any) -> None:
        """Accept any value; one that cannot be pickled is refused by :meth:`package`."""

    def package(self, value: Any) -> bytes:
        try:
            data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as exc:
            raise TypeError(f"{type(self).__name__} cannot pickle {_name(value)}: {exc}") from exc
        return data if self._key is None else self._sign(data) + data

    def unpackage(self, frame: str | bytes) -> Any:
        if isinstance(frame, str):
            raise TypeError(f"{type(self).__name__} expects a binary message, got a text one")
        data = frame if self._key is None else self._verified(frame)
        try:
            return self._loads(data)
        except Exception as exc:
            raise TypeError(f"{type(self).__name__} cannot unpickle a message: {exc}") from exc

    def _loads(self, data: bytes) -> Any:
        if self._allow is None:
            return pickle.loads(data)  # noqa: S301 - what this datatype is for; the docs warn
        return _AllowedUnpickler(io.BytesIO(data), self._allow).load()

    def _sign(self, data: bytes) -> bytes:
        assert self._key is not None
        return hmac.digest(self._key, data, hashlib.sha256)

    def _verified(self, frame: bytes) -> bytes:
        size = hashlib.sha256().digest_size
        signature, data = frame[:size], frame[size:]
        if not hmac.compare_digest(signature, self._sign(data)):
            raise ValueError(f"{type(self).__name__} refuses a message with a wrong signature")
        return data


class _AllowedUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, allow: frozenset[str]) -> None:
        super().__init__(file)
        self._allow = allow

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self._allow:
            raise pickle.UnpicklingError(f"{module}.{name} is not in the allow list")
        return super().find_class(module, name)


DatatypeLike: TypeAlias = str | WSDatatype | type[WSDatatype]
"""A datatype, its class, or its name: ``"string"``, ``"bytes"``, ``"object"``, ``"json"``."""

_BY_NAME: dict[str, type[WSDatatype]] = {
    "string": WSStr,
    "bytes": WSBytes,
    "object": WSObject,
    "json": WSJson,
}


def wsdt_factory(datatype: DatatypeLike) -> WSDatatype:
    """Make the datatype that a name, a class or an instance stands for.

    Raises:
        ValueError: it stands for none.
    """
    given: Any = datatype  # whatever the caller's type checker let through
    if isinstance(given, WSDatatype):
        return given
    if isinstance(given, type) and issubclass(given, WSDatatype):
        return given()
    if isinstance(given, str) and given in _BY_NAME:
        return _BY_NAME[given]()
    raise ValueError(
        f"Unsupported datatype {datatype!r}: use one of {sorted(_BY_NAME)}, "
        "a WSDatatype, or a subclass of it"
    )


_UNCHANGED: dict[type[WSDatatype], frozenset[type]] = {
    WSStr: frozenset({str}),
    WSBytes: frozenset({bytes}),
}


def unchanged_types(datatype: WSDatatype) -> frozenset[type]:
    """Return the types of messages that are values as they are."""
    return _UNCHANGED.get(type(datatype), frozenset())


def _check_key(key: Any) -> None:
    # A key is not shown.
    if not isinstance(key, bytes):
        raise TypeError(f"WSObject key must be bytes, got a {_name(key)}")
    if not key:
        raise ValueError("WSObject key must not be empty")


def _name(value: Any) -> str:
    return type(value).__name__


def _qualified(name: type | Callable[..., Any] | str) -> str:
    return name if isinstance(name, str) else f"{name.__module__}.{name.__qualname__}"
