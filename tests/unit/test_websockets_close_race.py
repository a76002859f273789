"""Closing the real transport's listener in the very turn in which a client arrives."""

from __future__ import annotations

import pytest

from rxplus import ClientEndpoint, ConnectError, ServerEndpoint, WebSocketsTransport
from rxplus_testing import Sim


@pytest.mark.parametrize("turns", range(12))
def test_listener_closed_as_a_client_arrives_leaves_nothing(turns: int) -> None:
    """However far a connection has come, it is closed too; exploration found turn 2 left open."""
    with Sim() as sim:
        transport = WebSocketsTransport()

        async def nobody(request: object) -> None:
            raise AssertionError

        endpoint = ServerEndpoint(host="127.0.0.1", port=0)
        listener = sim.run(transport.listen(endpoint, nobody))  # type: ignore[arg-type]  # not called
        client = sim.loop.create_task(
            transport.connect(ClientEndpoint(host="127.0.0.1", port=listener.port))
        )
        sim.run_until(lambda: "opened" in sim.byte_net.snapshot())
        for _ in range(turns):
            sim.loop.turn()
        sim.run(listener.close())
        sim.advance(60.0)
        assert isinstance(client.exception(), ConnectError)
        assert sim.byte_net.describe_open() == []
