"""The command line."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.allocator import settle_allocator
from benchmarks.cases import ALL, select
from benchmarks.limits import raise_open_files
from benchmarks.measure import Result, measure
from benchmarks.model import Config
from benchmarks.report import report

_QUICK_SCALE = 0.1
_QUICK_ROUNDS = 2

_BEGIN = "<!-- results -->"
_END = "<!-- end of results -->"


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="beginnings of names; all when there is none")
    parser.add_argument("--list", action="store_true", help="show names, and run nothing")
    parser.add_argument("--quick", action="store_true", help="less work and fewer rounds")
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds of each benchmark")
    parser.add_argument("--transport", default="websockets", help="of rxplus: websockets, picows")
    parser.add_argument("--uvloop", action="store_true", help="use uvloop, for every contender")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put table and plot there")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run benchmarks, and print what was measured."""
    given = _arguments(argv)
    if given.list:
        print("\n".join(f"{one.name:24}{one.title}" for one in ALL))
        return
    config = Config(
        transport=given.transport,
        uvloop=given.uvloop,
        scale=_QUICK_SCALE if given.quick else 1.0,
    )
    rounds = given.repeat or (_QUICK_ROUNDS if given.quick else None)
    raise_open_files()
    settle_allocator()
    started = time.monotonic()
    results = [measure(one, config, rounds=rounds, tell=_tell) for one in select(given.names)]
    command = f"python -m benchmarks {' '.join(sys.argv[1:] if argv is None else argv)}".strip()
    text = report(results, config, command)
    print(text)
    print(f"\nTook {time.monotonic() - started:.0f} s.", file=sys.stderr)
    if given.write is not None:
        _write(given.write, results, text)


def _write(docs: Path, results: list[Result], text: str) -> None:
    """Put the tables between the marks in ``performance.md``, and the plot beside it."""
    # Heavy, and needed here only.
    from benchmarks.plot import plot

    page = docs / "performance.md"
    before, _, rest = page.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}")
    plot(results, docs / "performance.png")


def _tell(text: str) -> None:
    print(f"\r\x1b[K{text}", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
