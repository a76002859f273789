"""Kills, partitions and broken disks over real processes: zero lost, twice or out of order.

``python tests/integration/kill_rounds.py server --rounds 100 --size 64`` kills the server in the
middle of 100 bursts; ``client`` and ``both`` kill those. ``partition`` drops packets silently for
``--seconds``: between two network namespaces when run as root, or else in a proxy that stops
forwarding. ``disk`` fills the disk of the outbox, ``damage`` breaks its file, and ``expiry``
lets a session expire. ``test_kill_rounds.py`` runs a few rounds of each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from rxplus.stores import SQLiteStore, salvage

ROLES = Path(__file__).with_name("kill_roles.py")

LIMIT = float(os.environ.get("KILL_ROUNDS_LIMIT", "120"))
"""Seconds after which something that has to happen has failed."""


class Process:
    """A server or a client, and what it has said.

    Args:
        role: which of them.
        folder: where its store is.
        prefix: what runs the command.
        news: told of each line.
        others: everyone who must not fail while something is waited for.
        options: of the role.
    """

    def __init__(
        self,
        role: str,
        folder: Path,
        prefix: list[str],
        news: threading.Condition,
        others: Callable[[], list[Process]],
        **options: object,
    ) -> None:
        args = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
        self.role = role
        self.lines: list[list[str]] = []
        self._news = news
        self._others = others
        self._over = False
        self._process = subprocess.Popen(
            [*prefix, sys.executable, str(ROLES), role, str(folder), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            rest = b""
            while data := stdout.read(65_536):
                *lines, rest = (rest + data).split(b"\n")
                with self._news:
                    self.lines.extend(line.decode().split() for line in lines)
                    self._news.notify_all()
        with self._news:
            self.lines.append(["end"])
            self._news.notify_all()

    def until(self, predicate: Callable[[list[str]], bool], what: str) -> list[str]:
        """Wait for a line; return it. Lines are looked at once.

        Raises:
            TimeoutError: it was not said in time.
            AssertionError: it will not be said: one of the processes has ended, or has given up.
        """
        deadline, seen = time.monotonic() + LIMIT, 0
        with self._news:
            while True:
                for line in self.lines[seen:]:
                    seen += 1
                    if predicate(line):
                        return line
                for each in (self, *self._others()):
                    assert not each.failed, f"{each.role} failed; {self.role} did not say {what}"
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{self.role} did not say {what} within {LIMIT} s")
                self._news.wait(left)

    @property
    def failed(self) -> bool:
        """Whether it has ended without having been asked to, or said that its component has."""
        return not self._over and any(line[0] in ("end", "ended") for line in self.lines)

    def word(self, word: str) -> list[str]:
        """Wait for a line that begins with a word."""
        return self.until(lambda line: line[0] == word, word)

    def number(self, word: str, least: int) -> None:
        """Wait until a number that is said after a word is large enough."""
        self.until(lambda line: line[0] == word and int(line[1]) >= least, f"{word} {least}")

    def tell(self, line: object) -> None:
        """Write a line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def said(self, word: str) -> list[list[str]]:
        """Return all lines that begin with a word."""
        return [line for line in self.lines if line[0] == word]

    def close(self) -> None:
        """Have it close in an orderly way, and wait for it."""
        self._end()
        assert self._process.returncode == 0, f"{self.role} ended with {self._process.returncode}"

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self._process.kill()
        self._end()

    def _end(self) -> None:
        self._over = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(LIMIT)
        except subprocess.TimeoutExpired as exc:
            raise TimeoutError(f"{self.role} did not end within {LIMIT} s") from exc
        self._reader.join(LIMIT)
        assert not self._reader.is_alive(), f"somebody else has the stdout of {self.role}"

    def describe(self) -> None:
        """Say where it stands: what it said last, and what its threads do."""
        for line in self.lines[-12:]:
            sys.stderr.write(f"{self.role}: {' '.join(line)}\n")
        sys.stderr.flush()
        self._process.send_signal(signal.SIGUSR1)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)  # it writes that to the stderr that it shares with this one


class Bench:
    """A folder, a server and a client, which may be started many times."""

    def __init__(self, folder: Path, size: int, **options: Any) -> None:
        self.folder = folder
        self.options: dict[str, Any] = {"size": size, **options}
        self.host, self.port, self.client_port = own_address(), 0, 0
        self.server_prefix: list[str] = []
        self.client_prefix: list[str] = []
        self.sent = 0
        self.losses: list[list[str]] = []
        self.errors: list[list[str]] = []
        self.wrong: list[list[str]] = []
        self._news = threading.Condition()

    @property
    def _processes(self) -> list[Process]:
        """Whoever was started last of each."""
        both = (getattr(self, name, None) for name in ("client", "server"))
        return [process for process in both if process is not None]

    def _start(self, role: str, prefix: list[str], port: int, options: dict[str, Any]) -> Process:
        return Process(
            role,
            self.folder,
            prefix,
            self._news,
            lambda: self._processes,
            host=self.host,
            port=port,
            **options,
        )

    def start_server(self) -> None:
        """Start the server, again on the same port."""
        self.server = self._start("server", self.server_prefix, self.port, self.options)
        self.port = int(self.server.word("port")[1])

    def start_client(self, **options: object) -> None:
        """Start the client."""
        port = self.client_port or self.port
        given = {**self.options, **options}
        self.client = self._start("client", self.client_prefix, port, given)

    def note(self, process: Process) -> None:
        """Keep what a process said, before it is forgotten."""
        self.losses += process.said("loss")
        self.errors += process.said("error")
        self.wrong += process.said("wrong")

    def kill_server(self) -> None:
        """Kill the server, and start it again."""
        self.server.kill()
        self.note(self.server)
        self.start_server()

    def kill_client(self) -> None:
        """Kill the client, and start it again with what it still has to send."""
        self.client.kill()
        self.note(self.client)
        self.start_client()
        self.client.tell(self.sent)

    def burst(self, count: int) -> None:
        """Have more messages sent."""
        self.sent += count
        self.client.tell(self.sent)

    def wait_received(self, number: int) -> None:
        """Wait until the server has had so many."""
        self.server.number("next", number)

    def close(self) -> int:
        """Close both in an orderly way; return the number of the next message at the server."""
        self.client.close()
        gone = self.client.word("gone")
        assert gone[1:] == ["True", "0"], f"the client closed without its last acks: {gone}"
        self.server.close()
        self.note(self.client)
        self.note(self.server)
        with SQLiteStore(self.folder / "server.db") as store:
            return int(store.load("app/next") or b"0")

    def abandon(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            process.kill()

    def describe(self) -> None:
        """Say where both stand, for whoever looks for what went wrong."""
        for process in self._processes:
            process.describe()

    def result(self, received: int, **figures: object) -> dict[str, Any]:
        """Check what must hold after every scenario without an expected loss."""
        assert self.wrong == [], self.wrong
        assert received == self.sent, (received, self.sent)
        assert self.losses == [], self.losses
        return {"sent": self.sent, "received": received, "lost": 0, **figures}


def own_address() -> str:
    """Return an address of this machine that others hardly use, where there are such.

    On it a port stays free while its server is dead. On 127.0.0.1 anybody may get it meanwhile,
    be it as the port of an outgoing connection, be it one's own client that so finds itself.
    """
    if sys.platform != "linux":
        return "127.0.0.1"
    return ".".join(map(str, (127, *random.SystemRandom().choices(range(1, 255), k=3))))


@contextmanager
def bench(folder: Path, size: int, **options: Any) -> Iterator[Bench]:
    """Start a server and a client, and leave none running."""
    world = Bench(folder, size, **options)
    try:
        yield world
    except BaseException:
        world.describe()
        raise
    finally:
        world.abandon()


# ── kills ─────────────────────────────────────────────────────────────────────────────────


def kill_rounds(
    folder: Path, target: str, rounds: int, size: int, burst: int, seed: int = 0
) -> dict[str, Any]:
    """Kill in the middle of bursts: ``server``, ``client`` or ``both``."""
    rng, start = random.Random(seed), time.monotonic()
    with bench(folder, size) as world:
        world.start_server()
        world.start_client()
        for _ in range(rounds):
            before = world.sent
            world.burst(burst)
            world.wait_received(before + rng.randrange(1, burst))
            kill(world, target, rng)
            world.wait_received(world.sent)
        received = world.close()
        took = time.monotonic() - start
        return world.result(received, target=target, rounds=rounds, size=size, seconds=round(took))


def kill(world: Bench, target: str, rng: random.Random) -> None:
    """Kill one or both, and have them come back."""
    if target == "server":
        world.kill_server()
    elif target == "client":
        world.kill_client()
    else:
        first, second = rng.sample([world.server, world.client], 2)
        first.kill()
        second.kill()
        world.note(first)
        world.note(second)
        world.start_server()
        world.start_client()
        world.client.tell(world.sent)


# ── partitions ────────────────────────────────────────────────────────────────────────────


class Proxy:
    """Forwards connections, and can stop doing so without a word to either side."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._listener = socket.create_server((host, 0))
        self.port = int(self._listener.getsockname()[1])
        self._wake, self._woken = socket.socketpair()
        self.frozen = False
        self._open: list[socket.socket] = []
        self._peers: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def freeze(self) -> None:
        """Stop forwarding. Connections of this time stay silent for ever."""
        self.frozen = True
        self._wake.send(b".")

    def heal(self) -> None:
        """Forward new connections."""
        self.frozen = False
        self._wake.send(b".")

    def close(self) -> None:
        """End it."""
        self._port = 0
        self._wake.send(b".")
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), "the proxy did not end"
        for each in (self._listener, self._wake, self._woken, *self._open):
            each.close()

    def _run(self) -> None:
        while self._port:
            sources = [] if self.frozen else [self._listener, *self._peers]
            for ready in select.select([self._woken, *sources], [], [])[0]:
                if ready is self._woken:
                    self._woken.recv(100)
                    if self.frozen:
                        self._peers.clear()
                elif ready is self._listener:
                    self._accept()
                elif ready in self._peers:
                    self._forward(ready)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.settimeout(LIMIT)
        try:
            server = socket.create_connection((self._host, self._port), LIMIT)
        except OSError:
            client.close()
            return
        self._peers |= {client: server, server: client}
        self._open += [client, server]

    def _forward(self, source: socket.socket) -> None:
        try:
            data = source.recv(65_536)
            self._peers[source].sendall(data)
        except OSError:
            data = b""
        if not data:
            for each in (source, self._peers.pop(source)):
                self._peers.pop(each, None)
                each.close()


@contextmanager
def through_proxy(world: Bench) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Start both with a proxy in between; yield what parts them and what heals that."""
    world.start_server()
    proxy = Proxy(world.host, world.port)
    world.client_port = proxy.port
    try:
        world.start_client()
        yield proxy.freeze, proxy.heal
    finally:
        world.abandon()
        proxy.close()


def ip(*args: str) -> str:
    """Run ``ip``."""
    done = subprocess.run(["ip", *args], capture_output=True, text=True, check=True, timeout=LIMIT)
    return done.stdout


@contextmanager
def through_namespaces(world: Bench) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Start both in network namespaces of their own, connected by a cable.

    They are parted by wrong hardware addresses: the kernels send packets that nobody takes. So
    there is no reset, no error, and TCP does what it does in a real partition.
    """
    spaces = {f"rx{os.getpid()}{side}": f"10.99.0.{n}" for n, side in enumerate("sc", 1)}
    server, client = spaces
    with ExitStack() as stack:
        for space in spaces:
            ip("netns", "add", space)
            stack.callback(ip, "netns", "del", space)
        cable = ["type", "veth", "peer", "name", "cable", "netns", client]
        ip("link", "add", "cable", "netns", server, *cable)
        addresses = {}
        for space, address in spaces.items():
            ip("-n", space, "addr", "add", f"{address}/24", "dev", "cable")
            ip("-n", space, "link", "set", "cable", "up")
            (link,) = json.loads(ip("-n", space, "-j", "link", "show", "cable"))
            addresses[space] = link["address"]

        def point(wrong: str | None) -> None:
            for here, there in ((server, client), (client, server)):
                lladdr = wrong or addresses[there]
                neighbour = [spaces[there], "lladdr", lladdr, "dev", "cable", "nud", "permanent"]
                ip("-n", here, "neigh", "replace", *neighbour)

        world.host = spaces[server]
        world.server_prefix = ["ip", "netns", "exec", server]
        world.client_prefix = ["ip", "netns", "exec", client]
        stack.callback(world.abandon)
        world.start_server()
        world.start_client()
        yield lambda: point("02:00:00:00:00:99"), lambda: point(None)


def can_part() -> bool:
    """Tell whether network namespaces can be made here."""
    if os.getuid() or shutil.which("ip") is None:
        return False
    name = f"rx{os.getpid()}t"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    if made:
        ip("netns", "del", name)
    return made


def partition(
    folder: Path,
    seconds: float,
    size: int,
    burst: int,
    ping: float,
    *,
    proxy: bool,
    level: str = "durable",
) -> dict[str, Any]:
    """Part both for a while in the middle of a burst, and send more meanwhile."""
    how = through_proxy if proxy else through_namespaces
    with bench(folder, size, ping=ping, level=level) as world, how(world) as (part, heal):
        world.burst(burst)
        world.wait_received(burst // 3)
        part()
        parted = time.monotonic()
        world.burst(burst)
        world.client.number("done", world.sent)
        while (left := parted + seconds - time.monotonic()) > 0:
            time.sleep(left)  # how long it is parted is what this is about
        heal()
        healed = time.monotonic()
        world.wait_received(world.sent)
        took = time.monotonic() - healed
        noticed = len(world.client.said("disconnected"))
        received = world.close()
        return world.result(
            received,
            parted=seconds,
            level=level,
            how="proxy" if proxy else "namespaces",
            disconnects=noticed,
            caught_up_after=round(took, 1),
        )


# ── disks ─────────────────────────────────────────────────────────────────────────────────


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a small file system on a folder. Needs root."""
    folder.mkdir(exist_ok=True)
    size = f"size={megabytes}m"
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True, timeout=LIMIT
    )
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=LIMIT)


def full_disk(folder: Path, size: int) -> dict[str, Any]:
    """Fill the disk of the outbox while the server is away: refusals, and no loss."""
    disk, server = folder / "disk", folder / "server"
    server.mkdir()
    with small_disk(disk, 8), bench(server, size) as world:
        world.start_server()
        world.folder = disk
        world.start_client()
        world.burst(200)
        world.wait_received(200)
        world.server.kill()
        world.burst(16 * 2**20 // size)
        world.client.word("refused")
        accepted = int(world.client.said("refused")[0][1])
        world.client.kill()  # on top of it
        world.folder = server
        world.start_server()
        world.folder = disk
        world.start_client()
        world.client.tell(world.sent)
        world.wait_received(world.sent)
        world.folder = server
        received = world.close()
        return world.result(received, accepted_until_full=accepted, size=size)


def damaged_outbox(folder: Path, size: int) -> dict[str, Any]:
    """Damage one message in the outbox of a killed client: refused, salvaged, and one is lost."""
    outbox, rescued = folder / "client.db", folder / "rescued.db"
    with bench(folder, size) as world:
        world.start_server()
        world.start_client()
        world.burst(200)
        world.wait_received(200)
        world.server.kill()
        world.burst(400)
        world.client.number("done", world.sent)
        world.client.kill()
        SQLiteStore(outbox).close()  # so that everything is in the file, and nothing in the log
        overwrite(outbox, b"300:.....", b"3oo:")
        world.start_server()
        world.start_client()
        refused = world.client.word("ended")
        world.client.kill()
        world.note(world.client)
        found = salvage(outbox, rescued)
        assert found.missing == 1, found
        world.start_client(outbox=rescued.name)
        world.burst(100)
        world.wait_received(world.sent)
        received = world.close()
        # What the server had, and the client did not know to be there, comes again.
        gaps = [line for line in world.wrong if int(line[4]) > int(line[2])]
        assert [(line[2], line[4]) for line in gaps] == [("300", "301")], world.wrong
        assert received == world.sent
        return {
            "sent": world.sent,
            "lost": found.missing,
            "jumps_back": len(world.wrong) - len(gaps),
            "refused": " ".join(refused),
            "salvaged": found.messages,
        }


def overwrite(path: Path, found: bytes, by: bytes) -> None:
    """Change some bytes of a file."""
    with path.open("r+b") as file:
        file.seek(file.read().index(found))
        file.write(by)


# ── sessions that expire ──────────────────────────────────────────────────────────────────


def expired_session(folder: Path, size: int, *, resend: bool) -> dict[str, Any]:
    """Keep the client away for longer than its session lasts, with messages unacknowledged."""
    with bench(folder, size, expiry=1.0, ping=1.0) as world, through_proxy(world) as (part, heal):
        world.client.kill()
        world.start_client(resend=int(resend))
        world.burst(100)
        world.wait_received(100)
        world.client.tell("settle")
        world.client.word("settled")
        part()
        world.burst(200)
        world.client.number("done", world.sent)
        world.client.word("disconnected")
        time.sleep(2.5)  # longer than the session lasts, on both sides
        heal()
        world.client.until(lambda line: line[:2] == ["connected", "False"], "connected False")
        world.burst(100)
        world.wait_received(world.sent)
        received = world.close()
        lost = sum(int(line[2]) for line in world.losses)
        missed = sum(int(line[4]) - int(line[2]) for line in world.wrong)
        return {
            "sent": world.sent,
            "received": received,
            "resend": resend,
            "reported_lost": lost,
            "missed": missed,
            "losses": world.losses,
        }


def main() -> None:
    """Run what the command line asks for, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    scenarios = ["server", "client", "both", "partition", "disk", "damage", "expiry"]
    parser.add_argument("scenario", choices=scenarios)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--burst", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--ping", type=float, default=5.0)
    parser.add_argument("--level", choices=["durable", "acknowledged"], default="durable")
    parser.add_argument("--resend", action="store_true")
    parser.add_argument("--proxy", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        match args.scenario:
            case "partition":
                proxy = args.proxy or not can_part()
                figures = partition(
                    folder,
                    args.seconds,
                    args.size,
                    args.burst,
                    args.ping,
                    proxy=proxy,
                    level=args.level,
                )
            case "disk":
                figures = full_disk(folder, args.size)
            case "damage":
                figures = damaged_outbox(folder, args.size)
            case "expiry":
                figures = expired_session(folder, args.size, resend=args.resend)
            case target:
                figures = kill_rounds(folder, target, args.rounds, args.size, args.burst, args.seed)
    print(json.dumps(figures))  # noqa: T201 - what it is run for


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
