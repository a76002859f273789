"""What CI makes of tests that would be skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

TESTS = """
import pytest

@pytest.mark.skipif(True, reason="no such tool")
def test_marked(): pass

def test_called(): pytest.skip("no such tool either")

@pytest.fixture
def disk(): pytest.skip("no disk")

def test_set_up(disk): pass

@pytest.mark.skipif(True, reason="this Python is too old")
def test_version(): pass

def test_rights(): pytest.skip("this machine is not ours")

@pytest.mark.xfail(reason="known")
def test_known(): assert False
"""


@pytest.mark.parametrize(
    ("ci", "wanted"),
    [
        ("", {"skipped": 5, "xfailed": 1}),
        ("true", {"failed": 1, "errors": 2, "skipped": 2, "xfailed": 1}),
    ],
)
def test_skips_are_failures_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, wanted: dict[str, int]
) -> None:
    """All but those that an interpreter or a machine leaves no choice about, with the reason."""
    monkeypatch.setenv("CI", ci)
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(TESTS)
    result = pytester.runpytest("-p", "no:asyncio", "-p", "no:cacheprovider")
    result.assert_outcomes(**wanted)
    if ci:
        for reason in ("no such tool", "no such tool either", "no disk"):
            result.stdout.fnmatch_lines([f"*may not be skipped where CI is set: {reason}"])
