"""The pytest plugin: fixtures, the ``rx_sim`` marker, and what a failed test shows.

pytest loads it by itself wherever rxplus is installed (``-p no:rxplus`` keeps it
out). So it imports nothing of rxplus before a test asks for it: other runs do
not pay for it, and a coverage measurement that starts later sees all of it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from reactivex import Observable

    from rxplus_testing import MemoryNetwork, Peer, Recorder, RestartableServer, Sim

__all__: list[str] = []

_MARKER = (
    "rx_sim(seeds=1, mode='inline', stall=0.0, faults=None): how the rx_sim fixture simulates; "
    "seeds is a number of seeds, from 0, or the seeds themselves, and the test is run with each"
)
_MARKED = frozenset({"seeds", "mode", "stall", "faults"})

_SIM: pytest.StashKey[Sim] = pytest.StashKey()
_ENDED_EARLY: pytest.StashKey[bool] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("rxplus", "rxplus simulations")
    group.addoption(
        "--rx-seeds",
        type=_count,
        metavar="N",
        help="run each test that uses rx_sim with the seeds 0 to N-1, whatever its marker says",
    )
    group.addoption(
        "--rx-seed",
        type=int,
        metavar="S",
        help="run each test that uses rx_sim with this seed only, as to replay a failure",
    )
    group.addoption(
        "--rx-artifacts",
        type=Path,
        metavar="DIR",
        help="write report, trace and traffic of each failed simulation into a folder in DIR",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError("at least 1")  # argparse says which option, and which value
    return count


# ── seeds ─────────────────────────────────────────────────────────────────────────────────


@pytest.hookimpl(trylast=True)  # the seed comes last in the name of the test
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with each seed."""
    if "rx_sim" not in metafunc.fixturenames:
        return
    seeds = _seeds(metafunc.config, _marked(metafunc.definition))
    if seeds is not None:
        metafunc.parametrize("rx_sim", seeds, indirect=True, ids=_seed_id)


def _seeds(config: pytest.Config, marked: dict[str, Any]) -> Iterable[int] | None:
    """Return the seeds to repeat a test with; ``None``: it is not repeated."""
    if config.option.rx_seed is not None:
        return None
    count: int | None = config.option.rx_seeds
    seeds: int | Iterable[int] | None = marked.get("seeds") if count is None else count
    return range(seeds) if isinstance(seeds, int) else seeds


def _seed_id(seed: int) -> str:
    return f"seed={seed}"


def _marked(item: pytest.Item) -> dict[str, Any]:
    """Return what the markers say, the nearest one of each argument."""
    found: dict[str, Any] = {}
    for mark in item.iter_markers("rx_sim"):
        unknown = set(mark.kwargs) - _MARKED
        if mark.args or unknown:
            wrong = ", ".join([*map(repr, mark.args), *sorted(unknown)])
            raise pytest.UsageError(f"{item.nodeid}: marker is {_MARKER}; it has no {wrong}")
        found = {**mark.kwargs, **found}
    return found


# ── fixtures ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def rx_sim(request: pytest.FixtureRequest) -> Iterator[Sim]:
    """A simulated world, in virtual time. What is left open at the end fails the test."""
    from rxplus_testing.sim import Sim

    item = request.node
    given = request.config.option.rx_seed
    seed = getattr(request, "param", 0) if given is None else given
    item.stash[_ENDED_EARLY] = False
    sim = item.stash[_SIM] = Sim(seed, **_settings(item, seed))
    yield sim
    if item.stash[_ENDED_EARLY]:
        _close_quietly(sim)
    else:
        sim.close()


def _settings(item: pytest.Item, seed: int) -> dict[str, Any]:
    """Return what the markers say of how to simulate; faults may be a function of the seed."""
    settings = {key: value for key, value in _marked(item).items() if key != "seeds"}
    if callable(settings.get("faults")):
        settings["faults"] = settings["faults"](seed)
    return settings


def _close_quietly(sim: Sim) -> None:
    """Close what a failed test left open, which is not what is wrong with it."""
    from rxplus_testing._errors import LeakError

    with suppress(LeakError):
        sim.close()


@pytest.fixture
def rx_net(rx_sim: Sim) -> MemoryNetwork:
    """The network of ``rx_sim``, which takes the faults."""
    return rx_sim.net


@pytest.fixture
def rx_peer(rx_sim: Sim) -> Iterator[Callable[..., Peer]]:
    """A function that makes a scripted far end in ``rx_sim``; it is stopped with the test.

    It takes what :class:`rxplus_testing.Peer` takes after the simulation.
    """
    from rxplus_testing.peer import Peer

    with ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(Peer(rx_sim, url, **options))


@pytest.fixture
def rx_record(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[Observable[Any]], Recorder[Any]]]:
    """A function that subscribes to an observable and writes down what it does.

    In a test that uses ``rx_sim`` in virtual time, otherwise in real time. The
    subscription ends with the test.
    """
    if "rx_sim" in request.fixturenames:
        sim: Sim = request.getfixturevalue("rx_sim")
        yield sim.record
        return
    from rxplus_testing._recorder import Recorder

    with ExitStack() as stack:

        def record(observable: Observable[Any]) -> Recorder[Any]:
            recorder = Recorder(observable)
            stack.callback(recorder.dispose)
            return recorder

        yield record


@pytest.fixture
def rx_server() -> Iterator[Callable[..., RestartableServer]]:
    """A function that starts a real server on a free port, which can be restarted.

    It takes what :class:`rxplus_testing.RestartableServer` takes. The servers are
    closed with the test.
    """
    from rxplus_testing._servers import RestartableServer

    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(RestartableServer(*args, **options))


@pytest.fixture
def rx_no_leaks() -> Iterator[None]:
    """Fails a test that leaves a thread, task or socket behind.

    It is set up before every other fixture of the test, so it looks at the end
    of them all.
    """
    from rxplus_testing._leaks import no_leaks

    with no_leaks():
        yield


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put ``rx_no_leaks`` before the other fixtures of one test: their clean-up is not a leak."""
    names: list[str] = getattr(item, "fixturenames", [])
    if "rx_no_leaks" not in names:
        return
    # What lives longer than the test comes first: it may stay. pytest has no public way to ask.
    known = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009
    names.remove("rx_no_leaks")
    longer = [one for one in names if one in known and known[one][-1].scope != "function"]
    names.insert(names.index(longer[-1]) + 1 if longer else 0, "rx_no_leaks")


# ── failures ──────────────────────────────────────────────────────────────────────────────


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell of the simulation when its test has failed."""
    report = yield
    sim = item.stash.get(_SIM, None)
    if sim is None:
        return report
    if call.excinfo is not None:
        item.stash[_ENDED_EARLY] = True
    if report.failed:
        report.sections.append(("rxplus simulation", _report(item, sim, call.when)))
    if call.when == "teardown":
        del item.stash[_SIM]  # pytest keeps its items to the end
    return report


def _report(item: pytest.Item, sim: Sim, when: str) -> str:
    from rxplus_testing._report import describe_failed, write_artifacts

    text = describe_failed(sim, _replay(item, sim.seed))
    artifacts: Path | None = item.config.option.rx_artifacts
    if artifacts is not None:
        directory = artifacts / re.sub(r"[^\w.=-]+", "_", f"{item.nodeid}-{when}")
        write_artifacts(directory, sim, text)
        text += f"\nwritten to {directory}"
    return text


def _replay(item: pytest.Item, seed: int) -> str:
    """Return the command that runs the test with this seed, in the folder pytest was started in."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    inside = item.nodeid.partition("::")[2]
    callspec = getattr(item, "callspec", None)
    if callspec is not None:
        parts = [part for part in callspec.id.split("-") if part != _seed_id(seed)]
        inside = inside.removesuffix(f"[{callspec.id}]") + (f"[{'-'.join(parts)}]" if parts else "")
    return f"pytest {shlex.quote(f'{path}::{inside}')} --rx-seed {seed}"
