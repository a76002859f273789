"""The code in the documentation runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(.*)$")
REASON = re.compile(r"^<!-- notest: .+ -->$")


def script_of(page: Path) -> str:
    """Return a page's Python blocks as one script, each line where it is on the page."""
    lines: list[str] = []
    fence: str | None = None
    for line in page.read_text("utf-8").splitlines():
        found = FENCE.match(line)
        if found:
            fence = found[1] if fence is None else None
        lines.append(line if fence == "python" and not found else "")
    return "\n".join(lines)


def command_for(script: str) -> list[str]:
    """Return what runs a script: pytest, when it has tests, as its readers would run them."""
    if "\ndef test_" not in script:
        return []
    # What tests print is seen: a word on stderr is one too many. No cache in the way of others.
    return ["-m", "pytest", "-q", "-s", "-p", "no:asyncio", "-p", "no:cacheprovider", "-W", "error"]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if script_of(page).strip()], ids=lambda page: page.name
)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    """The Python blocks of a page run in order, without a warning or a word on stderr."""
    script = tmp_path / f"page_{page.stem}.py"  # page_: some pages are named like modules
    script.write_text(script_of(page), "utf-8")
    # Not in development mode, in which asyncio tells of every callback that a busy machine delays.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDEVMODE"}
    done = subprocess.run(
        [sys.executable, "-W", "error", *command_for(script.read_text("utf-8")), str(script)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stderr == ""
    assert done.returncode == 0, done.stdout
    assert not re.search(r"\d (skipped|xfailed|warning)", done.stdout)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_that_do_not_run_say_why(page: Path) -> None:
    """A block is Python that runs, or is marked, with a reason in a comment above it."""
    lines = page.read_text("utf-8").splitlines()
    for above, line in pairwise(lines):
        if line.startswith("```python") and line != "```python":
            assert line == "```python notest"
            assert REASON.match(above)
