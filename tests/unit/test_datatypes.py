"""Datatypes: what may be sent, how it travels, and what is refused on arrival."""

from __future__ import annotations

import collections
import datetime as dt
import json
import math
import os
import pickle
import warnings
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxplus import WSBytes, WSDatatype, WSJson, WSObject, WSStr, wsdt_factory

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


class _Renamed:
    """Subclasses by another name, as users have them."""

    class Text(WSStr):
        """A text of one's own."""

    class Raw(WSBytes):
        """Bytes of one's own."""

    class Document(WSJson):
        """A document of one's own."""

    class Thing(WSObject):
        """An object of one's own."""


# ── strings and bytes ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", [WSStr, _Renamed.Text])
@pytest.mark.parametrize("value", [b"bytes", 5, None, ["a"]])
def test_wsstr_expects_a_string(make: type[WSStr], value: Any) -> None:
    """Anything but a string is misuse, said in the class's own name."""
    with pytest.raises(TypeError) as caught:
        make().encode(value)
    assert str(caught.value) == (
        f"{make.__name__} expects a string payload, got {type(value).__name__}"
    )


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_wsstr_roundtrip(text: str) -> None:
    """What is sent as a string arrives as the same string."""
    assert WSStr().unpackage(WSStr().encode(text)) == text


@pytest.mark.parametrize("make", [WSBytes, _Renamed.Raw])
@pytest.mark.parametrize("value", ["text", 5, None, [1, 2]])
def test_wsbytes_error_message(make: type[WSBytes], value: Any) -> None:
    """The message names the class itself, also in a subclass."""
    with pytest.raises(TypeError) as caught:
        make().package_type_check(value)
    assert str(caught.value) == (
        f"{make.__name__} expects a bytes-like object, got {type(value).__name__}"
    )


@given(st.binary())
def test_wsbytes_roundtrip(data: bytes) -> None:
    """All kinds of bytes arrive as ``bytes``."""
    datatype = WSBytes()
    for value in (data, bytearray(data), memoryview(data)):
        arrived = datatype.unpackage(datatype.encode(value))
        assert type(arrived) is bytes
        assert arrived == data


def test_wsbytes_copies_what_its_owner_may_change() -> None:
    """A buffer may be used again as soon as it was sent."""
    buffer = bytearray(b"first")
    frame = WSBytes().encode(buffer)
    buffer[:] = b"other"
    assert frame == b"first"
    constant = b"constant"
    assert WSBytes().encode(constant) is constant


def test_wsbytes_takes_a_view_with_gaps() -> None:
    """A strided view is sent as what it shows."""
    assert WSBytes().encode(memoryview(b"a1b2c3")[::2]) == b"abc"


@pytest.mark.parametrize(
    ("make", "frame", "message"),
    [
        (WSStr, b"x", "WSStr expects a text message, got a binary one"),
        (_Renamed.Text, b"x", "Text expects a text message, got a binary one"),
        (WSJson, b"{}", "WSJson expects a text message, got a binary one"),
        (_Renamed.Document, b"{}", "Document expects a text message, got a binary one"),
        (WSBytes, "x", "WSBytes expects a binary message, got a text one"),
        (_Renamed.Raw, "x", "Raw expects a binary message, got a text one"),
        (WSObject, "x", "WSObject expects a binary message, got a text one"),
        (_Renamed.Thing, "x", "Thing expects a binary message, got a text one"),
    ],
)
def test_datatypes_refuse_the_other_kind_of_message(
    make: type[WSDatatype], frame: str | bytes, message: str
) -> None:
    """Text where binary is due, or the reverse, is a wrong type."""
    with pytest.raises(TypeError) as caught:
        make().unpackage(frame)
    assert str(caught.value) == message


# ── json ──────────────────────────────────────────────────────────────────────────────────


@given(JSON)
def test_wsjson_roundtrip(value: Any) -> None:
    """What JSON can carry arrives equal, as text that any peer can read."""
    frame = WSJson().encode(value)
    assert isinstance(frame, str)
    assert WSJson().unpackage(frame) == value == json.loads(frame)


def test_wsjson_is_compact() -> None:
    """No byte is spent on spaces."""
    assert WSJson().encode({"a": [1, 2], "b": None}) == '{"a":[1,2],"b":null}'


@pytest.mark.parametrize("make", [WSJson, _Renamed.Document])
@pytest.mark.parametrize("value", [b"x", {1}, object(), Decimal(1), dt.date(2026, 1, 1)])
def test_wsjson_type_check(make: type[WSJson], value: Any) -> None:
    """A value that JSON does not have is misuse, said in the class's own name."""
    with pytest.raises(TypeError, match=f"^{make.__name__} expects a JSON value, got "):
        make().package_type_check(value)


def test_wsjson_package_refuses_what_is_wrong_deeper_down() -> None:
    """A set within a list is found before anything is sent."""
    with pytest.raises(TypeError, match="set"):
        WSJson().encode([{1}])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_wsjson_refuses_to_send_what_json_has_not(value: float) -> None:
    """NaN and the infinities are no JSON."""
    with pytest.raises(ValueError, match="JSON"):
        WSJson().encode([value])


@pytest.mark.parametrize("frame", ["NaN", "[Infinity]", '{"a":-Infinity}'])
def test_wsjson_refuses_to_read_what_json_has_not(frame: str) -> None:
    """A peer's NaN is refused as one's own is."""
    with pytest.raises(ValueError, match="is not JSON"):
        WSJson().unpackage(frame)


@pytest.mark.parametrize("frame", ["", "{", "[1,]", "{'a':1}", "1 2"])
def test_wsjson_refuses_what_is_no_json(frame: str) -> None:
    """A message that is no JSON is a wrong value."""
    with pytest.raises(ValueError, match=r"line 1 column \d"):
        WSJson().unpackage(frame)


def test_wsjson_too_deep() -> None:
    """Nesting without end is a wrong value, both ways, and not the end of the program."""
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(ValueError, match="WSJson cannot send so deep a value"):
        WSJson().encode(deep)
    with pytest.raises(ValueError, match="WSJson cannot read so deep a value"):
        WSJson().unpackage("[" * 200_000)
    while deep:  # Taken apart here: letting go of it all at once is deep too.
        deep = deep.pop()


def test_wsjson_circular() -> None:
    """A value that holds itself cannot be sent."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="Circular"):
        WSJson().encode(value)


# ── objects ───────────────────────────────────────────────────────────────────────────────


class Point:
    """A class to send."""

    def __init__(self, x: int) -> None:
        self.x = x


class Hostile:
    """An object whose pickle runs a command."""

    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


class Stubborn:
    """An object that will not be pickled, for reasons of its own."""

    def __reduce__(self) -> Any:
        raise OSError("no")


@pytest.mark.parametrize("value", [None, 5, "x", b"x", object(), lambda: None, Stubborn()])
def test_wsobject_type_check(value: Any) -> None:
    """Any value passes: whether it can be pickled is known when it is."""
    WSObject().package_type_check(value)


@given(st.recursive(JSON | st.binary(), lambda inner: st.tuples(inner, inner), max_leaves=4))
def test_wsobject_roundtrip(value: Any) -> None:
    """Values arrive equal, as binary messages, signed or not."""
    for datatype in (WSObject(), WSObject(key=b"k"), WSObject(allow=())):
        frame = datatype.encode(value)
        assert isinstance(frame, bytes)
        assert datatype.unpackage(frame) == value


@pytest.mark.parametrize("make", [WSObject, _Renamed.Thing])
@pytest.mark.parametrize("value", [lambda: None, Stubborn()])
def test_wsobject_refuses_what_cannot_be_pickled(make: type[WSObject], value: Any) -> None:
    """An object that cannot be pickled is of the wrong type, whatever pickle says."""
    with pytest.raises(TypeError, match=f"^{make.__name__} cannot pickle ") as caught:
        make().encode(value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("frame", [b"", b"no pickle", pickle.dumps("x")[:-1]])
def test_wsobject_refuses_what_is_no_pickle(frame: bytes) -> None:
    """A message that is no pickle is refused, whatever it makes pickle raise."""
    with pytest.raises(TypeError, match=r"^WSObject cannot unpickle a message: ") as caught:
        WSObject().unpackage(frame)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "allow",
    [
        [Point, collections.OrderedDict],
        {f"{__name__}.Point", "collections.OrderedDict"},
        (Point, "collections.OrderedDict"),
    ],
)
def test_wsobject_allow_lets_through_what_it_names(allow: Any) -> None:
    """Classes may be named as themselves or by name."""
    datatype = WSObject(allow=allow)
    point, mapping = datatype.unpackage(WSObject().encode([Point(3), collections.OrderedDict(a=1)]))
    assert (point.x, mapping) == (3, {"a": 1})


def test_wsobject_allow_takes_functions() -> None:
    """A function that rebuilds an object can be allowed as itself."""
    frame = pickle.dumps(complex(1, 2))
    with pytest.raises(TypeError, match=r"builtins\.complex is not in the allow list"):
        WSObject(allow=[len]).unpackage(frame)
    assert WSObject(allow=[complex]).unpackage(frame) == 1 + 2j
    assert WSObject(allow=[len]).unpackage(pickle.dumps(len)) is len


def test_wsobject_allow_runs_nothing_else() -> None:
    """A hostile pickle is refused by the name of what it would have run."""
    with pytest.raises(TypeError, match=r"system is not in the allow list"):
        WSObject(allow=[Point]).unpackage(pickle.dumps(Hostile()))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_wsobject_allow_holds_in_every_protocol(protocol: int) -> None:
    """An old pickle, which writes names another way, gets by no more than a new one."""
    frame = pickle.dumps(Hostile(), protocol=protocol)
    with pytest.raises(TypeError, match="is not in the allow list"):
        WSObject(allow=[Point]).unpackage(frame)


def test_wsobject_allow_refuses_a_lone_name() -> None:
    """A string is a collection of letters, which is not what its writer meant."""
    with pytest.raises(TypeError, match="WSObject allow must be a collection of names"):
        WSObject(allow="collections.OrderedDict")


def test_wsobject_key_signs() -> None:
    """Whoever has the key can read; whoever has another, or changed a byte, is refused."""
    frame = WSObject(key=b"secret").encode("hello")
    assert isinstance(frame, bytes)
    assert WSObject(key=b"secret").unpackage(frame) == "hello"
    with pytest.raises(ValueError, match="WSObject refuses a message with a wrong signature"):
        WSObject(key=b"other").unpackage(frame)
    for index in range(len(frame)):
        changed = bytearray(frame)
        changed[index] ^= 1
        with pytest.raises(ValueError, match="wrong signature"):
            WSObject(key=b"secret").unpackage(bytes(changed))


@pytest.mark.parametrize("frame", [b"", b"short", pickle.dumps("unsigned"), b"\0" * 32])
def test_wsobject_key_refuses_what_is_not_signed(frame: bytes) -> None:
    """Nothing is unpickled without a signature."""
    with pytest.raises(ValueError, match="wrong signature"):
        WSObject(key=b"secret").unpackage(frame)


def test_wsobject_key_and_allow_hold_together() -> None:
    """A signed message still names only what is allowed."""
    frame = WSObject(key=b"k").encode(Point(1))
    with pytest.raises(TypeError, match="Point is not in the allow list"):
        WSObject(key=b"k", allow=[]).unpackage(frame)
    assert WSObject(key=b"k", allow=[Point]).unpackage(frame).x == 1


def test_wsobject_refuses_keys_that_are_none() -> None:
    """A key that would sign nothing, or break later, is refused now, and not shown."""
    with pytest.raises(ValueError, match="WSObject key must not be empty"):
        WSObject(key=b"")
    with pytest.raises(TypeError, match="WSObject key must be bytes, got a str") as caught:
        WSObject(key="s3cret")  # type: ignore[arg-type]  # the point of the test
    assert "s3cret" not in str(caught.value)


def test_only_a_bare_wsobject_is_unsafe_from_strangers() -> None:
    """The warning is for pickle that nothing restrains."""
    assert WSObject().unsafe_from_strangers
    safe = [WSObject(key=b"k"), WSObject(allow=[]), WSStr(), WSBytes(), WSJson()]
    assert not any(datatype.unsafe_from_strangers for datatype in safe)


# ── choosing one ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given_datatype", "kind"),
    [
        ("string", WSStr),
        ("bytes", WSBytes),
        ("object", WSObject),
        ("json", WSJson),
        (WSJson, WSJson),
        (_Renamed.Raw, _Renamed.Raw),
    ],
)
def test_wsdt_factory(given_datatype: Any, kind: type[WSDatatype]) -> None:
    """A name or a class stands for a new datatype."""
    assert type(wsdt_factory(given_datatype)) is kind


def test_wsdt_factory_keeps_an_instance() -> None:
    """A datatype that was made with arguments is used as it is."""
    datatype = WSObject(key=b"k")
    assert wsdt_factory(datatype) is datatype


@pytest.mark.parametrize("wrong", ["str", "JSON", "", str, 5, None, [], lambda path: "json"])
def test_wsdt_factory_refuses_what_is_none(wrong: Any) -> None:
    """What stands for no datatype is refused, with the names that do."""
    with pytest.raises(ValueError, match=r"^Unsupported datatype ") as caught:
        wsdt_factory(wrong)
    assert repr(wrong) in str(caught.value)
    assert "['bytes', 'json', 'object', 'string']" in str(caught.value)


def test_datatypes_are_shown_by_name() -> None:
    """A datatype in a log shows its class, and no key."""
    assert repr(WSObject(key=b"s3cret")) == "WSObject()"
    assert repr(_Renamed.Text()) == "Text()"


def test_datatype_of_ones_own() -> None:
    """A codec needs three methods; ``encode`` checks before it packages."""

    class Upper(WSStr):
        def package(self, value: str) -> str:
            return value.upper()

    assert Upper().encode("loud") == "LOUD"
    with pytest.raises(TypeError, match="Upper expects a string payload"):
        Upper().encode(5)
    with pytest.raises(TypeError, match="abstract"):
        WSDatatype()  # type: ignore[abstract]  # the point of the test


def test_datatypes_warn_of_nothing_by_themselves() -> None:
    """Making a datatype is silent: whether pickle is a danger depends on the peer."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wsdt_factory("object")


def test_string_takes_the_short_way_only_for_plain_strings() -> None:
    """What else is sent goes through the checks, and through what a subclass makes of it."""

    class Shouting(WSStr):
        def package(self, value: str) -> str:
            return value.upper()

    class Text(str):
        __slots__ = ()

    assert Shouting().encode("a") == "A"
    assert WSStr().encode(Text("a")) == "a"
    with pytest.raises(TypeError, match="WSStr expects a string payload"):
        WSStr().encode(1)
