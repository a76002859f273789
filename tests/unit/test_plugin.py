"""The pytest plugin, seen by the tests that use it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rxplus_testing import Sim, expect

LIMIT = 110
"""Seconds after which a process that has to end will not end any more."""

FAILING = """
import reactivex as rx
from rxplus import RxWSClient, RxWSServer

def test_it(rx_sim):
    parts = {"runtime": rx_sim.runtime, "transport": rx_sim.transport}
    server = RxWSServer({"host": "127.0.0.1", "port": 0}, **parts)
    client = RxWSClient({"host": "127.0.0.1", "port": server.port, "path": "/a"}, **parts)
    seen = rx_sim.record(server)
    assert client.wait_connected(5)
    client.on_next("lost in the post")
    rx_sim.run_until_idle()
    assert seen.values == ["it"]
"""
"""A test that fails while something is on its way."""


ALONE = ("-W", "error", "--strict-markers", "-p", "no:asyncio")
"""Without pytest-asyncio, which wants to be configured: a test of its own has it."""


def outcomes(pytester: pytest.Pytester, *arguments: str, **wanted: int) -> pytest.RunResult:
    """Run the tests of ``pytester`` in this process, with warnings as errors."""
    result = pytester.runpytest(*ALONE, *arguments)
    result.assert_outcomes(**wanted)
    return result


def in_process(pytester: pytest.Pytester, *arguments: str, **wanted: int) -> pytest.RunResult:
    """Run them in a process of their own."""
    result = pytester.runpytest_subprocess(*ALONE, *arguments, timeout=LIMIT)
    result.assert_outcomes(**wanted)
    return result


# What it loads.


def test_plugin_loads_nothing_of_rxplus() -> None:
    """Whoever does not use the fixtures does not load rxplus, which coverage would not see."""
    script = """
        import sys
        import rxplus_testing.plugin
        loaded = {name for name in sys.modules if name.split(".")[0] in ("rxplus", "reactivex")}
        own = {name for name in sys.modules if name.startswith("rxplus_testing")}
        print(sorted(loaded), sorted(own))
    """
    script = "\n".join(line.strip() for line in script.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT
    )
    assert done.stdout.strip() == "[] ['rxplus_testing', 'rxplus_testing.plugin']", done.stderr


def test_package_loads_its_names_when_asked() -> None:
    """The package has all its names, lists them, and has no others."""
    import rxplus_testing

    assert set(rxplus_testing.__all__) <= set(dir(rxplus_testing))
    assert rxplus_testing.Sim is Sim
    for name in ("NoSuchName", "__path_of_nothing__"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(rxplus_testing, name)


# Seeds.

COUNTING = """
import pytest

SEEDS = []

@pytest.mark.rx_sim(seeds=3)
@pytest.mark.parametrize("letter", "ab")
def test_marked(rx_sim, letter):
    SEEDS.append(rx_sim.seed)

@pytest.mark.rx_sim(seeds=[7, 9])
class TestListed:
    def test_listed(self, rx_sim): pass

    @pytest.mark.rx_sim(seeds=1)
    def test_once(self, rx_sim): pass

def test_plain(rx_net): pass

def test_without(): pass
"""


def ids(result: pytest.RunResult) -> list[str]:
    """Return the tests of a verbose run, without the module."""
    return [match[1] for line in result.outlines if (match := re.search(r"::(\S+) PASSED", line))]


def test_plugin_marker_repeats_over_seeds(pytester: pytest.Pytester) -> None:
    """A number of seeds, or the seeds themselves; the nearest marker counts."""
    pytester.makepyfile(COUNTING)
    assert ids(outcomes(pytester, "-v", passed=11)) == [
        *(f"test_marked[{letter}-seed={seed}]" for letter in "ab" for seed in range(3)),
        "TestListed::test_listed[seed=7]",
        "TestListed::test_listed[seed=9]",
        "TestListed::test_once[seed=0]",
        "test_plain",
        "test_without",
    ]


def test_plugin_option_rx_seeds_is_for_every_simulation(pytester: pytest.Pytester) -> None:
    """The option gives all tests that simulate, and no others, the same number of seeds."""
    pytester.makepyfile(COUNTING)
    result = outcomes(pytester, "-v", "--rx-seeds", "2", passed=11)
    assert ids(result)[-3:] == ["test_plain[seed=0]", "test_plain[seed=1]", "test_without"]


def test_plugin_option_rx_seed_is_the_only_one(pytester: pytest.Pytester) -> None:
    """One seed for all, under the names that tests have without seeds."""
    pytester.makepyfile(COUNTING + "\ndef test_seeds(): assert SEEDS == [5, 5]")
    result = outcomes(pytester, "-v", "--rx-seeds", "2", "--rx-seed", "5", passed=7)
    assert ids(result)[:3] == ["test_marked[a]", "test_marked[b]", "TestListed::test_listed"]


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_plugin_option_rx_seeds_is_a_number(pytester: pytest.Pytester, count: str) -> None:
    """What is no number of seeds is refused by the option's name."""
    result = pytester.runpytest(*ALONE, f"--rx-seeds={count}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--rx-seeds: invalid * value: '{count}'"])


@pytest.mark.parametrize("arguments", ["3", "seed=3"])
def test_plugin_marker_refuses_what_it_does_not_know(
    pytester: pytest.Pytester, arguments: str
) -> None:
    """A slip in the marker is an error that names it."""
    pytester.makepyfile(
        f"import pytest\n@pytest.mark.rx_sim({arguments})\ndef test_it(rx_sim): pass"
    )
    result = pytester.runpytest(*ALONE)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*it has no {arguments.partition('=')[0]}*"])


def test_plugin_marker_is_documented(pytester: pytest.Pytester) -> None:
    """``pytest --markers`` explains it, ``pytest --fixtures`` the fixtures."""
    pytester.runpytest(*ALONE, "--markers").stdout.fnmatch_lines(["@pytest.mark.rx_sim(seeds=*"])
    pytester.runpytest(*ALONE, "--fixtures").stdout.fnmatch_lines(["rx_sim -- *"])


# Failures.


def test_plugin_reports_a_failure(pytester: pytest.Pytester) -> None:
    """A failed test shows seed, replay, wait sites, what was seen, and the traffic; no leak."""
    pytester.makepyfile(test_post=FAILING)
    result = outcomes(pytester, "--rx-seed", "3", failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- rxplus simulation -*",
            "seed 3, replayed by: pytest test_post.py::test_it --rx-seed 3",
            "t=0.00*, next timer at *",
            "  task RxWSClient-*",
            "  undelivered c1 -> :40000 due 0.00*: text 'lost in the post'",
            "recorder 1: nothing yet",
            "traffic (all):",
            "  0.000000 c1 -> :40000 open /a",
            "*text 'lost in the post'",
            "trace (*):",
            "  0.00* test: wait in RxWSClient.wait_connected",
        ]
    )
    assert "LeakError" not in result.stdout.str()


def test_plugin_replays_a_failure(pytester: pytest.Pytester) -> None:
    """The command that is shown runs that test, with those parameters and that seed."""
    directory = pytester.mkdir("sub dir")
    (directory / "test_odd.py").write_text(
        "import pytest\n"
        "@pytest.mark.rx_sim(seeds=5)\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_odd(rx_sim, n): assert (rx_sim.seed, n) != (3, 2)\n"
    )
    result = outcomes(pytester, "-n0", failed=1, passed=9)
    (line,) = [one for one in result.outlines if "replayed by" in one]
    command = shlex.split(line.partition("replayed by: ")[2])
    assert command == ["pytest", "sub dir/test_odd.py::test_odd[2]", "--rx-seed", "3"]
    outcomes(pytester, *command[1:], failed=1)
    outcomes(pytester, *command[1:-1], "4", passed=1)


def test_plugin_reports_what_is_left_open(pytester: pytest.Pytester) -> None:
    """A test that passes and leaves something open is an error, with the same report."""
    pytester.makepyfile("def test_it(rx_sim): rx_sim.runtime.acquire()")
    result = outcomes(pytester, passed=1, errors=1)
    result.stdout.fnmatch_lines(["*LeakError: left over at the end:", "*lease taken at *"])
    result.stdout.fnmatch_lines(["*- rxplus simulation -*", "seed 0, replayed by: *"])


def test_plugin_says_nothing_about_other_tests(pytester: pytest.Pytester) -> None:
    """Tests without a simulation, skipped ones and expected failures get no report."""
    pytester.makepyfile("""
        import pytest
        def test_fails(): assert 0
        def test_skips(rx_sim): pytest.skip()
        @pytest.mark.xfail
        def test_xfails(rx_sim):
            rx_sim.runtime.acquire()
            assert 0
    """)
    result = outcomes(pytester, failed=1, skipped=1, xfailed=1)
    assert "rxplus simulation" not in result.stdout.str()


def test_plugin_writes_artifacts(pytester: pytest.Pytester) -> None:
    """With --rx-artifacts what is known of a failure goes into files."""
    pytester.makepyfile(test_post=FAILING)
    result = outcomes(pytester, "--rx-artifacts", "found/here", failed=1)
    directory = Path("found/here/test_post.py_test_it-call")
    result.stdout.fnmatch_lines([f"written to {directory}"])
    assert (directory / "report.txt").read_text().startswith("seed 0, replayed by: ")
    assert "lost in the post" in (directory / "traffic.txt").read_text()
    assert "test: wait in RxWSClient" in (directory / "trace.txt").read_text()


SETTINGS = """
import pytest

class Plan:
    def __init__(self, seed=None):
        self.seed = seed
    def install(self, sim):
        sim.plan = self

pytestmark = pytest.mark.rx_sim(mode="threads", stall=0.1)

def test_mode(rx_sim):
    assert rx_sim.mode == "threads"

@pytest.mark.rx_sim(mode="inline", faults=Plan())
def test_faults(rx_sim):
    assert (rx_sim.mode, rx_sim.plan.seed) == ("inline", None)

@pytest.mark.rx_sim(faults=Plan, seeds=[5])
def test_faults_of_the_seed(rx_sim):
    assert rx_sim.plan.seed == 5
"""


def test_plugin_marker_hands_its_settings_to_the_simulation(pytester: pytest.Pytester) -> None:
    """Mode, stalls and faults are those of the marker; faults can depend on the seed."""
    pytester.makepyfile(SETTINGS)
    outcomes(pytester, passed=3)


@pytest.mark.parametrize("mode", ["inline", "threads"])
def test_plugin_closes_what_a_failed_test_left(pytester: pytest.Pytester, mode: str) -> None:
    """Components that a failed test left open do not warn in the tests after it."""
    marker = f"\nimport gc, pytest\npytestmark = pytest.mark.rx_sim(mode='{mode}')"
    pytester.makepyfile(FAILING + marker + "\ndef test_after(): gc.collect()")
    outcomes(pytester, failed=1, passed=1)


# Fixtures.


def test_rx_record_in_virtual_time(rx_sim: Sim, rx_record: object) -> None:
    """With rx_sim, recording is the simulation's."""
    assert rx_record == rx_sim.record


def test_rx_record_in_real_time(pytester: pytest.Pytester) -> None:
    """Without it, recording is in real time and ends with the test."""
    pytester.makepyfile("""
        from reactivex.subject import Subject
        from rxplus_testing import expect
        SUBJECT = Subject()
        def test_record(rx_record):
            seen = rx_record(SUBJECT)
            SUBJECT.on_next(1)
            expect(seen).next(1)
            assert SUBJECT.observers
        def test_end():
            assert not SUBJECT.observers
    """)
    outcomes(pytester, passed=2)


def test_rx_peer_is_stopped_with_the_test(pytester: pytest.Pytester) -> None:
    """A scripted far end takes the options of Peer, and is not left open."""
    pytester.makepyfile("""
        def test_it(rx_sim, rx_peer):
            server = rx_peer("ws://127.0.0.1:9000").start()
            rx_peer("ws://127.0.0.1:9000/a", headers={"X-Try": "1"}).connect()
            assert rx_sim.net.ports == (9000,)
    """)
    outcomes(pytester, passed=1)


def test_rx_no_leaks_reports_a_thread(pytester: pytest.Pytester) -> None:
    """A test that leaves a thread is an error that names it."""
    pytester.makepyfile("""
        import threading, pytest
        go = threading.Event()
        @pytest.mark.usefixtures("rx_no_leaks")
        def test_it():
            threading.Thread(target=go.wait, args=(10,), name="left").start()
        def test_end():
            go.set()
    """)
    result = outcomes(pytester, passed=2, errors=1)
    result.stdout.fnmatch_lines(["*thread left, made at *test_rx_no_leaks_reports_a_thread.py:5"])


def test_rx_no_leaks_looks_after_all_fixtures(pytester: pytest.Pytester) -> None:
    """What fixtures of the test clean up is no leak, nor what lives longer than the test."""
    pytester.makepyfile("""
        import socket, pytest
        def sockets():
            with socket.socket() as one:
                yield one
        long = pytest.fixture(sockets, scope="module", name="long")
        short = pytest.fixture(sockets, name="short")
        first = pytest.fixture(sockets, name="first", autouse=True)
        def test_it(short, rx_no_leaks, long): pass
        def test_without(short): pass
    """)
    outcomes(pytester, passed=2)


# Together with others.


def test_plugin_can_be_left_out(pytester: pytest.Pytester) -> None:
    """``-p no:rxplus`` takes it away."""
    pytester.makepyfile("def test_it(): pass\ndef test_sim(rx_sim): pass")
    result = outcomes(pytester, "-p", "no:rxplus", passed=1, errors=1)
    result.stdout.fnmatch_lines(["*fixture 'rx_sim' not found"])


ASYNC = """
import asyncio, pytest
from rxplus_testing import expect
import reactivex as rx

def test_sync(rx_sim):
    expect(rx_sim.record(rx.timer(5.0))).next(0)

async def wait(): await asyncio.sleep(5)
def test_run(rx_sim): rx_sim.run(wait())
"""


def test_plugin_without_pytest_asyncio(pytester: pytest.Pytester) -> None:
    """It needs no plugin for asynchronous tests."""
    pytester.makepyfile(ASYNC)
    outcomes(pytester, passed=2)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_plugin_with_pytest_asyncio(pytester: pytest.Pytester, mode: str) -> None:
    """And it minds none."""
    pytester.makepyfile(
        f"{ASYNC}\n@pytest.mark.asyncio\nasync def test_async(): await asyncio.sleep(0)"
    )
    options = ("-o", "asyncio_default_fixture_loop_scope=function", "-o", f"asyncio_mode={mode}")
    result = pytester.runpytest("-W", "error", *options)
    result.assert_outcomes(passed=3)


def test_plugin_with_xdist(pytester: pytest.Pytester) -> None:
    """Workers run the seeds among them, and their reports arrive."""
    pytester.makepyfile(
        "import pytest\n"
        "@pytest.mark.rx_sim(seeds=6)\n"
        "def test_it(rx_sim): assert rx_sim.seed != 4\n"
    )
    result = in_process(pytester, "-n2", failed=1, passed=5)
    result.stdout.fnmatch_lines(["seed 4, replayed by: pytest *::test_it --rx-seed 4"])


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_plugin_with_pytest_cov(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    """A measurement sees what is imported with the simulation, also with workers."""
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "COVERAGE_FILE"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile("def test_it(rx_sim): pass")
    result = in_process(pytester, workers, "--cov=rxplus", "--cov=rxplus_testing", passed=1)
    covered = {
        line.split()[0].rpartition("/rxplus")[2]: line.split()[-1]
        for line in result.outlines
        if re.search(r"rxplus\S*\.py +\d", line)
    }
    assert covered["/__init__.py"] == "100%"
    assert covered["_testing/_errors.py"] == "100%"


def test_expect_hides_its_own_frames(pytester: pytest.Pytester) -> None:
    """A failed step shows the line of the test that took it, and none of the test kit's."""
    pytester.makepyfile("""
        import reactivex as rx
        from rxplus_testing import expect
        def test_it(rx_sim):
            expect(rx_sim.record(rx.of(1))).next(2)
        def test_marbles(rx_sim):
            expect(rx_sim.record(rx.of(1))).marbles("--1")
    """)
    result = outcomes(pytester, failed=2)
    result.stdout.fnmatch_lines([">*next(2)", "E*AssertionError: expected next 2"])
    assert "_expect.py" not in result.stdout.str()


def test_sim_and_expect_go_together(rx_sim: Sim) -> None:
    """The fixtures of this very run come from the plugin."""
    import reactivex as rx

    expect(rx_sim.record(rx.timer(1.0))).next(0)
