"""The command ``rxplus demo``, with real processes and sockets."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from helpers import complaints

from rxplus.__main__ import main

LIMIT = 60.0
"""Seconds after which something that has to happen will not happen any more."""

COMMAND = [sys.executable, "-X", "dev", "-W", "error", "-m", "rxplus"]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let processes that are started now be interrupted.

    A shell starts what runs in the background with the signal ignored, and
    children inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _check_summary(output: str) -> None:
    """See to it that the table adds up and that nothing is missing."""
    table = output.partition("\nmessages ")[2]
    rows = [line.rsplit(maxsplit=5) for line in table.splitlines()[1:7]]
    assert [row[0] for row in rows] == [
        "/cpu", "/memory", "/network", "/dashboard", "/dashboard (from the server)", "total",
    ]  # fmt: skip
    counts = [[int(field) for field in row[1:]] for row in rows]
    assert [sum(column) for column in zip(*counts[:-1], strict=True)] == counts[-1]
    for sent, received, *wrong in counts:
        assert sent == received > 0
        assert wrong == [0, 0, 0]


def test_demo_runs_to_its_end_and_loses_nothing() -> None:
    """It ends by itself, says what it did, and nothing complains in development mode."""
    ended = subprocess.run(
        [*COMMAND, "demo", "--seconds", "3"], capture_output=True, text=True, timeout=LIMIT
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert complaints(ended.stderr) == ""
    _check_summary(ended.stdout)
    assert re.search(r"disconnected attempt \d+  code 1001  server is shutting down", ended.stdout)
    assert re.search(r"reconnecting attempt \d+", ended.stdout)
    assert re.search(r"[1-9]\d* messages wait", ended.stdout)
    assert "every message that waited has arrived" in ended.stdout
    assert "through 1 restart of the server: 0 lost." in ended.stdout.splitlines()[-1]


def test_demo_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    """In this process too: when it is over, so are its threads and sockets."""
    assert main(["demo", "--seconds", "2"]) == 0
    _check_summary(capsys.readouterr().out)


@pytest.mark.usefixtures("interruptible")
def test_demo_follows_until_ctrl_c() -> None:
    """Interrupted once a reading has been shown, it sums up and ends well."""
    arguments = [*COMMAND, "demo", "--follow", "--seconds", "1000"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            # Ends at the end of the output too, should there be no reading.
            next((line for line in process.stdout if "dashboard   cpu" in line), None)
            process.send_signal(signal.SIGINT)
            output, said = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
    assert process.returncode == 0, output + said
    assert complaints(said) == ""
    assert "Ctrl-C: no more readings" in output
    _check_summary(output)
    assert output.endswith(" 0 lost.\n")


def test_demo_ends_when_nobody_reads() -> None:
    """Its output closed, as after ``| head``, it ends by itself, without a traceback."""
    arguments = [*COMMAND, "demo", "--follow", "--seconds", "1000"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert "server listens" in process.stdout.readline()
            process.stdout.close()
            assert process.wait(LIMIT) == 0
            assert complaints(process.stderr.read()) == ""
        finally:
            process.kill()


def test_demo_refuses_wrong_arguments() -> None:
    """A value that cannot be is refused by name, with the exit code of a usage error."""
    ended = subprocess.run(
        [*COMMAND, "demo", "--seconds", "0"], capture_output=True, text=True, timeout=LIMIT
    )
    assert ended.returncode == 2
    assert "argument --seconds: must be at least 2" in ended.stderr
    assert ended.stdout == ""


def test_version_is_told() -> None:
    """``--version`` needs no command."""
    ended = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, timeout=LIMIT)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(r"rxplus \d+\.\d+\.\S+\n", ended.stdout)
