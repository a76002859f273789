"""The benchmarks: each does its work, tiny; what it measures is nobody's business here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# At the end: the package under test is the installed one, not the tree that is here too.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import __main__ as command
from benchmarks.cases import ALL
from benchmarks.measure import measure
from benchmarks.model import Benchmark, Config

pytestmark = pytest.mark.once

TINY = Config(scale=0.003)


@pytest.mark.parametrize("benchmark", ALL, ids=lambda one: one.name)
def test_benchmark_does_its_work(benchmark: Benchmark) -> None:
    """Every contender sends, receives and checks, and gives the figures that goals ask for."""
    result = measure(benchmark, TINY, rounds=1, warm_up=False)
    for contender in benchmark.contenders:
        assert result.rounds[0][contender.name]
    for goal in benchmark.goals:
        assert result.value(goal) > 0


def test_results_without_anything_to_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page gets its table all the same."""
    monkeypatch.setattr(command, "raise_open_files", lambda: None)
    page = tmp_path / "performance.md"
    page.write_text("<!-- results --><!-- end of results -->")
    command.main(["--quick", "threads", "--write", str(tmp_path)])
    assert "a group of 30 paths" in page.read_text()
    assert list(tmp_path.iterdir()) == [page]


def test_results_are_put_into_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between the marks, what was there goes; around them, it stays. The picture is beside it."""
    monkeypatch.setattr(command, "raise_open_files", lambda: None)
    page = tmp_path / "performance.md"
    page.write_text("Before.\n<!-- results -->\nold\n<!-- end of results -->\nAfter.\n")
    command.main(["--quick", "echo", "growth-paths", "--write", str(tmp_path)])
    table = capsys.readouterr().out.strip()
    assert "| blocking round trip, 64 B text (`echo`) | websockets | p50 us |" in table
    assert page.read_text() == (
        f"Before.\n<!-- results -->\n\n{table}\n\n<!-- end of results -->\nAfter.\n"
    )
    assert (tmp_path / "performance.png").read_bytes().startswith(b"\x89PNG")
