"""The command ``rxplus``, also ``python -m rxplus``."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import rxplus
from rxplus import RxException
from rxplus.demo import LEAST_SECONDS, run

__all__ = ["main"]

INTERRUPTED = 130
"""What a shell expects of a program that Ctrl-C ended without it having had its say."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: its arguments; ``None`` takes those of the process.

    Returns:
        An exit code: 0 when all went well, 1 when messages were lost, or the
        demo could not run.

    Raises:
        SystemExit: the arguments are wrong (code 2), or ask for help or the version (0).
    """
    arguments = _parser().parse_args(argv)
    try:
        return run(seconds=arguments.seconds, follow=arguments.follow)
    except KeyboardInterrupt:
        # A second one, while the first was being dealt with.
        return INTERRUPTED
    except RxException as exc:
        sys.stderr.write(f"rxplus demo: {exc}\n")
        return 1
    finally:
        _flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rxplus", description="Reactive WebSockets for ordinary, synchronous Python."
    )
    parser.add_argument("--version", action="version", version=f"rxplus {rxplus.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="stream readings of this machine over WebSockets, through a server restart",
        description="Stream readings of this machine over real WebSockets in one process, "
        "restart the server midway, and count what was sent, received and lost.",
    )
    demo.add_argument(
        "--seconds",
        type=_seconds,
        default=10.0,
        metavar="N",
        help=f"how long to send readings, at least {LEAST_SECONDS:g} (default: %(default)g)",
    )
    demo.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    return parser


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, got {text!r}") from None
    if not LEAST_SECONDS <= value < math.inf:
        raise argparse.ArgumentTypeError(
            f"must be at least {LEAST_SECONDS:g} and finite, got {text!r}"
        )
    return value


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes again when it exits, and would complain.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
