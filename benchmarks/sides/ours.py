"""rxplus: server and client, each with a loop thread of its own or both on one."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.loops import loop_factory
from benchmarks.model import Config
from rxplus import ConnConfig, Runtime, RxWSClient, RxWSServer, ThreadRuntime, Transport

__all__ = ["HOST", "LIMIT", "client", "endpoint", "pair", "runtime_of", "server", "transport_of"]

HOST = "127.0.0.1"

LIMIT = 60.0
"""Seconds after which something that has to happen will not happen any more."""


def transport_of(config: Config) -> Transport | None:
    """Make the transport that is measured; ``None`` is the default one.

    Raises:
        ValueError: there is none of that name.
    """
    if config.transport == "websockets":
        return None
    if config.transport == "picows":
        # Of an extra that need not be installed.
        made: Transport = importlib.import_module("rxplus.transports.picows").PicowsTransport()
        return made
    raise ValueError(f"unknown transport {config.transport!r}: use 'websockets' or 'picows'")


def runtime_of(config: Config) -> Runtime:
    """Make a runtime; its loop thread lives as long as what uses it."""
    return ThreadRuntime("benchmark", loop_factory=loop_factory(config))


def endpoint(server: RxWSServer, path: str = "/") -> ConnConfig:
    """Return where to reach a server."""
    return ConnConfig(HOST, server.port, path)


@contextmanager
def server(
    config: Config, runtime: Runtime | None = None, datatype: str = "string", **options: Any
) -> Iterator[RxWSServer]:
    """Serve on a free port; with a runtime of its own unless one is given."""
    with RxWSServer(
        {"host": HOST, "port": 0},
        datatype,
        runtime=runtime or runtime_of(config),
        transport=transport_of(config),
        **options,
    ) as made:
        yield made


@contextmanager
def client(
    config: Config,
    server: RxWSServer,
    runtime: Runtime | None = None,
    datatype: str = "string",
    **options: Any,
) -> Iterator[RxWSClient]:
    """Connect a client; with a runtime of its own unless one is given."""
    with RxWSClient(
        endpoint(server),
        datatype,
        runtime=runtime or runtime_of(config),
        transport=transport_of(config),
        **options,
    ) as made:
        assert made.wait_connected(LIMIT)
        yield made


@contextmanager
def pair(
    config: Config, *, shared: bool, datatype: str = "string"
) -> Iterator[tuple[RxWSServer, RxWSClient]]:
    """Serve, and connect one client.

    Args:
        config: how.
        shared: whether both are to use one loop thread.
        datatype: of both.
    """
    runtime = runtime_of(config) if shared else None
    with (
        server(config, runtime, datatype) as serving,
        client(config, serving, runtime, datatype) as connected,
    ):
        yield serving, connected
