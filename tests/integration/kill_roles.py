"""The two processes of :mod:`kill_rounds`: a server and a client, each with a store.

A message is ``<number>:<padding>``. Both sides keep what they know about numbers in their
stores, in the transaction in which the message is sent or dealt with: that is how an
application gets exactly once, whenever it is killed.

Lines on stdout are words: ``port N``, ``connected resumed``, ``next N``, ``done N``,
``wrong ...``, ``loss ...``, ``refused ...``, ``ended ...``, ``gone closed left``.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import time
from pathlib import Path

from rxplus import (
    ConnectionStatus,
    Delivery,
    Loss,
    Retry,
    RxWSClient,
    RxWSServer,
    StoreFullError,
    TaggedData,
    Timeouts,
)
from rxplus.stores import SQLiteStore

NEXT = "app/next"


def say(*words: object) -> None:
    """Print a line at once, in one piece."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def delivery(args: argparse.Namespace, store: SQLiteStore) -> Delivery:
    """Return what the command line asks for."""
    if args.level == "acknowledged":
        return Delivery.acknowledged(expiry=args.expiry, resend_lost=bool(args.resend))
    return Delivery.durable(store, expiry=args.expiry, resend_lost=bool(args.resend))


def load_next(store: SQLiteStore) -> int:
    """Return the number of the next message."""
    return int(store.load(NEXT) or b"0")


def serve(args: argparse.Namespace) -> None:
    """Be the server: check that numbers come one after the other, until stdin ends."""
    with SQLiteStore(args.folder / "server.db") as store:

        def take(value: TaggedData) -> None:
            number, _, padding = value.data.partition(":")
            expected = load_next(store)
            if int(number) != expected or padding != "." * args.size:
                say("wrong", "expected", expected, "got", number, "size", len(padding))
            store.save(NEXT, b"%d" % (int(number) + 1))
            if int(number) % args.every == 0:
                say("next", int(number) + 1)

        server = RxWSServer(
            {"host": args.host, "port": args.port},
            ping_interval=args.ping,
            ping_timeout=args.ping,
            delivery=delivery(args, store),
        )
        server.errors.subscribe(lambda error: say("error", error))
        server.losses.subscribe(say_loss)
        server.subscribe(take, on_error=lambda error: say("ended", error))
        say("port", server.port)
        say("next", load_next(store))
        for _line in sys.stdin:
            say("next", load_next(store))
        server.close(10.0)
        say("done", load_next(store))


def send(args: argparse.Namespace) -> None:
    """Be the client: send up to the numbers that are read from stdin, until it ends."""
    with SQLiteStore(args.folder / args.outbox) as store:
        client = RxWSClient(
            {"host": args.host, "port": args.port, "path": "/kill"},
            ping_interval=args.ping,
            ping_timeout=args.ping,
            retry=Retry(initial=0.01, maximum=0.2),
            timeouts=Timeouts(open=args.ping * 2),
            delivery=delivery(args, store),
        )
        client.subscribe(on_error=lambda error: say("ended", error))
        client.losses.subscribe(say_loss)
        client.errors.subscribe(lambda error: say("error", error))
        client.connection_state.subscribe(say_state)
        padding = "." * args.size
        for line in sys.stdin:
            if line == "settle\n":
                while client.health().queued_messages:
                    time.sleep(0.01)
                say("settled")
                continue
            number, end = load_next(store), int(line)
            while number < end:
                try:
                    with store.transaction():
                        client.on_next(f"{number}:{padding}")
                        store.save(NEXT, b"%d" % (number + 1))
                    number += 1
                except StoreFullError as exc:
                    say("refused", number, exc)
                    time.sleep(0.2)  # until the driver makes room
            say("done", number)
        say("gone", client.close(60.0), client.health().queued_messages)


def say_loss(loss: Loss) -> None:
    """Print a loss."""
    say("loss", loss.reason, loss.count, loss.first, loss.last)


def say_state(status: ConnectionStatus) -> None:
    """Print a change of state."""
    say(str(status), status.resumed, status.code, status.reason)


def main() -> None:
    """Be what the command line says."""
    faulthandler.register(signal.SIGUSR1)  # for Process.describe()
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--ping", type=float, default=5.0)
    parser.add_argument("--expiry", type=float, default=3600.0)
    parser.add_argument("--outbox", default="client.db")
    parser.add_argument("--level", default="durable")
    parser.add_argument("--resend", type=int, default=1)
    args = parser.parse_args()
    (serve if args.role == "server" else send)(args)


if __name__ == "__main__":
    main()
