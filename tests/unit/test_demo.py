"""The demo's parts, and all of it in a simulated world; the command line's too."""

from __future__ import annotations

import io
import os
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reactivex.subject import Subject

import rxplus
import rxplus.__main__ as command
from rxplus import RxException, RxWSClient, RxWSServer, TaggedData
from rxplus.demo import Demo, Seams, run
from rxplus.demo.ledger import Account, Ledger
from rxplus.demo.readings import (
    CpuTime,
    ProcFiles,
    ThisProcess,
    busy_percent,
    find_machine,
    parse_loadavg,
    parse_meminfo,
    parse_net_dev,
    parse_stat,
)
from rxplus.demo.reporter import Reporter
from rxplus.demo.sources import readings
from rxplus.demo.station import averages
from rxplus_testing import Sim, VirtualScheduler

STAT = "cpu  10 2 8 70 5 1 4 0 99 99\ncpu0 5 1 4 35 2 1 2 0 0 0\nintr 12345\n"
MEMINFO = "MemTotal:       4000 kB\nMemFree:         500 kB\nMemAvailable:   1000 kB\n"
NET_DEV = (
    "Inter-|   Receive                            |  Transmit\n"
    " face |bytes packets errs drop fifo frame compressed multicast|bytes packets\n"
    "    lo:  1000 1 0 0 0 0 0 0 1000 1 0 0 0 0 0 0\n"
    "  eth0:50 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n"
)
LOADAVG = "0.42 0.30 0.20 1/123 4567\n"


class FakeMachine:
    """A machine that is busier each time it is asked."""

    about = "a machine made up for a test"

    def __init__(self) -> None:
        self.asked = 0

    def cpu(self) -> CpuTime:
        self.asked += 1
        return CpuTime(self.asked * 1.0, self.asked * 4.0)

    def memory(self) -> float:
        return 50.0

    def network(self) -> float:
        return self.asked * 1000.0

    def load(self) -> float:
        return 0.5


class BrokenMachine(FakeMachine):
    """A machine one of whose readings fails."""

    def memory(self) -> float:
        raise OSError("no memory")


class Stage:
    """The demo's seams in a simulation, and what it prints there."""

    def __init__(self, sim: Sim, machine: FakeMachine | None = None) -> None:
        self.out = io.StringIO()
        self.seams = Seams(
            clients=sim.runtime,
            server=sim.runtime,
            transport=sim.transport,
            scheduler=VirtualScheduler,
            machine=machine or FakeMachine(),
            stream=self.out,
        )

    @property
    def text(self) -> str:
        """All that was printed."""
        return self.out.getvalue()

    def rows(self) -> dict[str, list[int]]:
        """Return the summary's numbers: sent, received, lost, repeated, late."""
        table = self.text.partition("\nmessages ")[2].partition("\n")[2].partition("\n\n")[0]
        split = [line.rsplit(maxsplit=5) for line in table.splitlines()]
        return {name: [int(field) for field in fields] for name, *fields in split}


@pytest.fixture
def stage(sim: Sim) -> Stage:
    """The demo's seams in a simulation."""
    return Stage(sim)


def interrupt() -> None:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


# ── readings ──────────────────────────────────────────────────────────────────────────────


def test_parse_stat_adds_up_all_cpus_without_guest_time() -> None:
    """Idle and iowait are not busy, and guest time is not counted twice."""
    assert parse_stat(STAT) == CpuTime(busy=25.0, total=100.0)


def test_parse_stat_of_an_old_kernel_has_fewer_fields() -> None:
    """Fields that a kernel does not have are no error."""
    assert parse_stat("cpu 1 1 1 7\n") == CpuTime(busy=3.0, total=10.0)


def test_parse_meminfo_counts_what_is_not_available() -> None:
    """Memory in use is what programs could not have."""
    assert parse_meminfo(MEMINFO) == 75.0


def test_parse_net_dev_adds_up_all_interfaces() -> None:
    """Bytes of both directions, also where the name touches the number."""
    assert parse_net_dev(NET_DEV) == 2057.0


def test_parse_loadavg_takes_the_last_minute() -> None:
    """The first number is the average of the last minute."""
    assert parse_loadavg(LOADAVG) == 0.42


@pytest.mark.parametrize(
    ("parse", "message"),
    [(parse_stat, "no line for all CPUs"), (parse_meminfo, "no 'MemTotal'")],
)
def test_parse_refuses_text_without_the_figure(
    parse: Callable[[str], object], message: str
) -> None:
    """What is missing is named, not taken for zero."""
    with pytest.raises(ValueError, match=message):
        parse("something else\n")


@pytest.mark.parametrize(
    ("before", "after", "percent"),
    [
        (CpuTime(0, 0), CpuTime(1, 4), 25.0),
        (CpuTime(1, 4), CpuTime(1, 4), 0.0),
        (CpuTime(5, 4), CpuTime(4, 8), 0.0),
        (CpuTime(0, 0), CpuTime(5, 4), 100.0),
    ],
)
def test_busy_percent_stays_in_range(before: CpuTime, after: CpuTime, percent: float) -> None:
    """Counters that stand still or are corrected give no nonsense."""
    assert busy_percent(before, after) == percent


def test_find_machine_reads_proc_where_there_is_one(tmp_path: Path) -> None:
    """With all four files there, they are read."""
    (tmp_path / "net").mkdir()
    for name, text in (
        ("stat", STAT),
        ("meminfo", MEMINFO),
        ("net/dev", NET_DEV),
        ("loadavg", LOADAVG),
    ):
        (tmp_path / name).write_text(text)
    machine = find_machine(tmp_path)
    assert isinstance(machine, ProcFiles)
    assert machine.cpu() == CpuTime(25.0, 100.0)
    assert (machine.memory(), machine.network(), machine.load()) == (75.0, 2057.0, 0.42)


def test_find_machine_falls_back_to_this_process(tmp_path: Path) -> None:
    """Without ``/proc`` there are readings all the same, and they say of what."""
    machine = find_machine(tmp_path)
    assert isinstance(machine, ThisProcess)
    assert "this process only" in machine.about
    before, after = machine.cpu(), machine.cpu()
    assert after.busy >= before.busy
    assert after.total >= before.total
    assert (machine.memory(), machine.network()) == (0.0, 0.0)
    assert machine.load() >= 0.0


def test_this_process_needs_no_load_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system that has none it reads 0."""
    monkeypatch.delattr(os, "getloadavg")
    assert ThisProcess().load() == 0.0


def test_readings_are_rates_where_the_machine_counts() -> None:
    """CPU and network come as differences, from the second tick on; the rest as it is."""
    ticks: Subject[int] = Subject()
    times = iter([10.0, 12.0, 12.0])
    streams = readings(FakeMachine(), ticks, lambda: next(times))
    got: dict[str, list[float]] = {path: [] for path in streams}
    for path, stream in streams.items():
        stream.subscribe(got[path].append)
    for tick in range(3):
        ticks.on_next(tick)
    assert got == {
        "/cpu": [25.0, 25.0],
        "/memory": [50.0, 50.0, 50.0],
        "/network": [500.0, 0.0],
        "/dashboard": [0.5, 0.5, 0.5],
    }


def test_averages_are_taken_path_by_path() -> None:
    """A frame of the dashboard has one mean for each path."""
    batch = [
        TaggedData("/cpu", {"n": 0, "value": 1.0}),
        TaggedData("/memory", {"n": 0, "value": 7.0}),
        TaggedData("/cpu", {"n": 1, "value": 2.0}),
    ]
    assert averages(batch) == {"/cpu": 1.5, "/memory": 7.0}


# ── the ledger ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arrivals", "received", "lost", "repeated", "late"),
    [
        ([0, 1, 2, 3], 4, 0, 0, 0),
        ([], 0, 4, 0, 0),
        ([0, 1, 2], 3, 1, 0, 0),
        ([1, 2, 3], 3, 1, 0, 0),
        ([0, 3], 2, 2, 0, 0),
        ([0, 1, 1, 2, 3], 4, 0, 1, 0),
        ([0, 2, 1, 3], 4, 0, 0, 1),
        ([3, 0, 0, 3], 2, 2, 2, 1),
    ],
)
def test_account_tells_gaps_repeats_and_late_ones(
    arrivals: list[int], received: int, lost: int, repeated: int, late: int
) -> None:
    """Of four messages sent, it knows which never came, came twice, or came late."""
    account = Account(sent=4)
    for number in arrivals:
        account.receive(number)
    assert account.received == received
    assert account.lost == lost
    assert (account.repeated, account.late) == (repeated, late)
    assert account.perfect is (arrivals == [0, 1, 2, 3])


def test_ledger_numbers_each_account_from_0(sim: Sim) -> None:
    """Paths do not share numbers, and taking one counts as sending."""
    ledger = Ledger(sim.runtime, ["/a", "/b"])
    assert [ledger.number("/a"), ledger.number("/a"), ledger.number("/b")] == [0, 1, 0]
    assert ledger.accounts["/a"].sent == 2
    assert ledger.total.lost == 3


def test_ledger_has_caught_up_when_what_was_sent_before_has_arrived(sim: Sim) -> None:
    """What is sent after the question is not waited for, and other accounts neither."""
    ledger = Ledger(sim.runtime, ["/a", "/b"])
    assert ledger.caught_up("/a").is_set()
    ledger.number("/a")
    ledger.number("/b")
    caught_up = ledger.caught_up("/a")
    ledger.number("/a")
    assert not caught_up.is_set()
    ledger.receive("/a", 0)
    assert caught_up.is_set()
    assert not ledger.caught_up("/a", "/b").is_set()


# ── the whole ─────────────────────────────────────────────────────────────────────────────


def test_demo_loses_nothing_through_the_restart(stage: Stage) -> None:
    """All that is sent, before, while and after the server is down, is counted in."""
    assert run(seconds=10, seams=stage.seams) == 0
    rows = stage.rows()
    assert set(rows) == {
        "/cpu", "/memory", "/network", "/dashboard", "/dashboard (from the server)", "total",
    }  # fmt: skip
    for sent, received, *wrong in rows.values():
        assert sent == received > 0
        assert wrong == [0, 0, 0]
    assert rows["/memory"][0] >= 90
    assert "All" in stage.text.splitlines()[-1]
    assert "through 1 restart of the server: 0 lost" in stage.text


def test_demo_shows_what_happens(stage: Stage) -> None:
    """Readings, states with their reasons, and messages that wait are there to be seen."""
    run(seconds=10, seams=stage.seams)
    for shown in (
        "cpu  25.0 %   memory  50.0 %   network     10.0 kB/s   load  0.50",
        "/cpu        disconnected attempt 1  code 1001  server is shutting down",
        "/cpu        reconnecting attempt",
        "readings go on: 60 messages wait",
        "every message that waited has arrived",
    ):
        assert shown in stage.text
    # What a change of state has told is not told again as an error.
    assert "report" not in stage.text


def test_demo_is_the_same_each_time() -> None:
    """Nothing in it is random, or reads a clock, behind the seams."""
    texts = []
    for _ in range(2):
        with Sim(seed=3) as sim:
            stage = Stage(sim)
            run(seconds=5, seams=stage.seams)
            texts.append(stage.text)
    assert texts[0] == texts[1] != ""


def test_demo_loses_nothing_when_it_is_held_up_as_the_server_starts(
    sim: Sim, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What clients send before anybody has subscribed to the new server waits for it."""

    class SlowlyUsed(RxWSServer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            sim.advance(1.0)

    monkeypatch.setattr("rxplus.demo.station.RxWSServer", SlowlyUsed)
    assert run(seconds=10, seams=stage.seams) == 0
    assert "0 lost" in stage.text


def test_demo_says_so_when_messages_are_lost(sim: Sim, stage: Stage) -> None:
    """A network that breaks with messages on their way costs some; that is told, not hidden."""
    sim.net.latency = 0.15
    sim.at(2.0, sim.net.sever)
    assert run(seconds=10, seams=stage.seams) == 1
    *_, lost, repeated, late = stage.rows()["total"]
    assert lost > 0
    assert f" {lost} are lost, {repeated} came again and {late} late" in stage.text.splitlines()[-1]


@pytest.mark.parametrize("when", [1.0, 4.3, 5.0, 8.0])
def test_demo_ends_with_the_summary_on_ctrl_c(sim: Sim, stage: Stage, when: float) -> None:
    """Also while the server is down: what waits then is delivered first."""
    sim.at(when, interrupt)
    assert run(seconds=10, seams=stage.seams) == 0
    assert "Ctrl-C: no more readings" in stage.text
    assert stage.rows()["total"][2] == 0
    assert sim.now < when + 3


def test_demo_that_is_long_delivers_everything_on_ctrl_c_too(sim: Sim, stage: Stage) -> None:
    """However long its server is to stay down, clients come back in time for the end."""
    sim.at(450.0, interrupt)
    assert run(seconds=1000, seams=stage.seams) == 0
    assert stage.rows()["total"][2] == 0


def test_demo_ends_on_ctrl_c_before_it_began(sim: Sim, stage: Stage) -> None:
    """When not even the server is there yet, there is nothing to sum up."""
    sim.at(0.0, interrupt)
    assert run(seconds=10, seams=stage.seams) == 0
    assert "nothing was sent" in stage.text


def test_demo_follows_until_ctrl_c(sim: Sim, stage: Stage) -> None:
    """With ``--follow`` time alone does not end it."""
    sim.at(60.0, interrupt)
    assert run(seconds=5, follow=True, seams=stage.seams) == 0
    assert stage.rows()["/memory"][0] > 550


def test_demo_goes_on_when_nobody_can_connect_yet(sim: Sim, stage: Stage) -> None:
    """Readings then wait for the connections."""
    rule = sim.net.refuse()
    sim.at(7.0, rule.remove)
    assert run(seconds=10, seams=stage.seams) == 0
    assert "not all paths are connected yet" in stage.text


def test_demo_does_not_wait_for_ever_at_the_end(sim: Sim, stage: Stage) -> None:
    """Messages that cannot arrive are called lost after a while."""
    sim.at(8.0, sim.net.refuse)
    sim.at(8.1, sim.net.sever)
    assert run(seconds=10, seams=stage.seams) == 1
    assert "report: Loss(" in stage.text
    assert sim.now < 40


def test_demo_tells_of_messages_that_do_not_wait_long_enough(sim: Sim, stage: Stage) -> None:
    """After the restart it says that all have arrived only if they have."""
    sim.at(4.5, sim.net.refuse)
    run(seconds=10, seams=stage.seams)
    assert "every message that waited has arrived" not in stage.text


def test_demo_tells_of_a_reading_that_fails(sim: Sim) -> None:
    """One source that fails is told; what was sent is still counted to the end."""
    stage = Stage(sim, BrokenMachine())
    assert run(seconds=5, seams=stage.seams) == 0
    assert "report: no memory" in stage.text


def test_demo_tells_when_its_port_is_taken(sim: Sim, stage: Stage) -> None:
    """Should somebody else listen on the port while the server is down, it says so and ends."""
    taken: list[RxWSServer] = []

    def take() -> None:
        config = {"host": "127.0.0.1", "port": demo.station.port}
        taken.append(RxWSServer(config, "json", runtime=sim.runtime, transport=sim.transport))

    sim.at(4.5, take)
    with (
        pytest.raises(RxException, match="cannot listen"),
        Demo(stage.seams, seconds=10) as demo,
    ):
        demo.play()
    taken[0].close()


def test_demo_is_not_disturbed_by_a_stranger(sim: Sim, stage: Stage) -> None:
    """What somebody else sends to the demo's server is reported, and does no harm."""

    def come() -> None:
        config = {"host": "127.0.0.1", "port": demo.station.port, "path": "/nowhere"}
        parts: dict[str, Any] = {"runtime": sim.runtime, "transport": sim.transport}
        with RxWSClient(config, "json", buffer_while_disconnected=True, **parts) as stranger:
            stranger.on_next({"n": 0, "value": 1.0})

    sim.at(0.9, come)
    with Demo(stage.seams, seconds=4) as demo:
        demo.play()
        assert demo.finish()
    assert "server      reports: '/nowhere'" in stage.text


def test_demo_refuses_too_short_a_time(stage: Stage) -> None:
    """There must be time for a restart."""
    with pytest.raises(ValueError, match="seconds must be at least 2, got 1"):
        Demo(stage.seams, seconds=1)


class Closed(io.StringIO):
    """An output that nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_reporter_stops_when_nobody_reads(sim: Sim) -> None:
    """After a broken pipe it says so, once, and writes no more."""
    calls: list[str] = []
    reporter = Reporter(sim.runtime, Closed(), on_gone=lambda: calls.append("gone"))
    reporter.line("demo", "one")
    reporter.line("demo", "two")
    assert reporter.gone
    assert calls == ["gone"]


def test_demo_ends_when_nobody_reads(sim: Sim, stage: Stage) -> None:
    """After ``| head`` there is nobody to go on for."""
    with Demo(replace(stage.seams, stream=Closed()), seconds=1000) as demo:
        demo.play(follow=True)
        assert demo.finish()
    assert demo._restarts == 0
    assert sim.now < 10


# ── the command line ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arguments are required: COMMAND"),
        (["dmo"], "invalid choice: 'dmo'"),
        (["demo", "--folow"], "unrecognized arguments: --folow"),
        (["demo", "--seconds", "1"], "must be at least 2 and finite, got '1'"),
        (["demo", "--seconds", "nan"], "must be at least 2 and finite, got 'nan'"),
        (["demo", "--seconds", "inf"], "must be at least 2 and finite, got 'inf'"),
        (["demo", "--seconds", "ten"], "must be a number of seconds, got 'ten'"),
    ],
)
def test_main_refuses_wrong_arguments(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names what is wrong, and nothing is run."""
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_main_passes_arguments_and_exit_code_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the demo returns is what the command returns."""
    calls: list[tuple[float, bool]] = []

    def fake(*, seconds: float, follow: bool) -> int:
        calls.append((seconds, follow))
        return len(calls) - 1

    monkeypatch.setattr(command, "run", fake)
    assert command.main(["demo"]) == 0
    assert command.main(["demo", "--follow", "--seconds", "2.5"]) == 1
    assert calls == [(10.0, False), (2.5, True)]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, ""),
        (RxException(OSError("taken"), "server", "cannot listen"), 1, "rxplus demo: <server> can"),
    ],
)
def test_main_ends_without_a_traceback(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A second Ctrl-C, or a port that is taken, is no reason for one."""

    def fake(**_: object) -> int:
        raise error

    monkeypatch.setattr(command, "run", fake)
    assert command.main(["demo"]) == code
    assert capsys.readouterr().err.startswith(message)


def test_main_lets_the_interpreter_flush_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody reads the output, what is left of it goes nowhere, without a complaint."""
    read_end, write_end = os.pipe()
    os.close(read_end)

    def fake(**_: object) -> int:
        return 0 * sys.stdout.write("unread")

    monkeypatch.setattr(command, "run", fake)
    with os.fdopen(write_end, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert command.main(["demo"]) == 0
        output.flush()


def test_module_is_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``python -m rxplus`` is ``rxplus``."""
    monkeypatch.setattr(sys, "argv", ["rxplus", "--version"])
    # By its path: pytest's import hook, which has what is installed with a plugin of pytest's
    # go through it, cannot give runpy the code of a module.
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(Path(rxplus.__file__).with_name("__main__.py")), run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"rxplus {rxplus.__version__}\n"
