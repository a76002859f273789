"""The examples: what they show is what happens, and nothing complains."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import complaints

LIMIT = 60.0
"""Seconds after which something that has to happen will not happen any more."""

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("chat", "object_rpc", "sensor_dashboard")


@pytest.fixture
def main_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Callable[[], Any]]]:
    """Give the ``main`` of an example; the threads that it starts must end."""
    before = set(threading.enumerate())
    monkeypatch.syspath_prepend(EXAMPLES)

    def find(name: str) -> Callable[[], Any]:
        # Afresh, and gone again afterwards: the names are such as others might use.
        monkeypatch.delitem(sys.modules, name, raising=False)
        module = importlib.import_module(name)
        monkeypatch.setitem(sys.modules, name, module)
        main: Callable[[], Any] = module.main
        return main

    yield find
    for thread in set(threading.enumerate()) - before:
        # Timers of Rx that were cancelled; they end, but nobody waits for them.
        thread.join(LIMIT)
        assert not thread.is_alive()
    for name in NAMES:
        sys.modules.pop(name, None)


def test_chat_keeps_rooms_apart(main_of: Callable[[str], Callable[[], Any]]) -> None:
    """Who is in a room hears what is said there, in order, and nothing else."""
    assert main_of("chat")() == {
        "alice": ["alice: anyone here?", "bob: hello alice!"],
        "bob": ["alice: anyone here?", "bob: hello alice!"],
        "carol": ["carol: my tomatoes are red"],
    }


def test_sensor_dashboard_sums_up_every_reading(
    main_of: Callable[[str], Callable[[], Any]],
) -> None:
    """The last summary counts all readings of all sensors."""
    assert main_of("sensor_dashboard")() == {
        "/sensor/boiler": {"count": 20, "low": 15.01, "high": 24.98},
        "/sensor/cellar": {"count": 20, "low": 35.01, "high": 44.98},
        "/sensor/roof": {"count": 20, "low": 55.01, "high": 64.98},
    }


def test_object_rpc_tells_values_errors_and_silence_apart(
    main_of: Callable[[str], Callable[[], Any]],
) -> None:
    """Each call gets its own answer, although all were under way at once."""
    assert main_of("object_rpc")() == {
        "add(2, 3)": "= 5",
        "divide(1, 0)": "failed: ZeroDivisionError: division by zero",
        "multiply(2, 3)": "failed: KeyError: 'multiply'",
        "black_hole()": "timed out",
        "add('a', 'b')": "= ab",
    }


@pytest.mark.parametrize("name", NAMES)
def test_example_runs_as_a_program(name: str) -> None:
    """Run as its docstring says, it ends by itself, and nothing complains in development mode."""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / f"{name}.py")],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert ended.returncode == 0, ended.stderr
    assert complaints(ended.stderr) == ""
    assert ended.stdout != ""


def test_examples_are_all_listed_and_tested() -> None:
    """An example that is added is told of, and tested."""
    readme = (EXAMPLES / "README.md").read_text()
    found = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    assert found == sorted(NAMES)
    for name in found:
        assert f"[`{name}.py`]({name}.py)" in readme
