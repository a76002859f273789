"""Hypothesis plays a user, and the network, against a server, its clients and a group."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)
from scenarios import Observed, Sender, check_received
from world import World

from rxplus import Retry, RxWSClient, TaggedData
from rxplus_testing import Sim

EXAMPLES = int(os.environ.get("RXPLUS_EXPLORE", "10"))
PATHS = ("/a", "/b")

seconds = st.sampled_from((0.0, 0.001, 0.1, 1.0, 10.0))


class Components(RuleBasedStateMachine):
    """Whatever is done, in whatever order, the promises are kept."""

    clients: Bundle[Any] = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.sim = Sim()
        self.world = World(self.sim)
        self.count = 0
        self.senders: dict[Sender, Observed] = {}

    # A user.

    @initialize()
    def start(self) -> None:
        """Make a server and a group."""
        self.server = self.world.server(ping_interval=5.0, ping_timeout=5.0)
        self.served = Observed(self.sim, self.server)
        self.port = self.server.port
        self.group = self.world.group(self.server, retry=Retry(initial=0.1, maximum=1.0))
        self.grouped = Observed(self.sim, self.group)

    @rule(target=clients, path=st.sampled_from(PATHS), buffered=st.booleans())
    def open_client(self, path: str, buffered: bool) -> Any:
        """Make a client."""
        client = self.world.client(
            self.port,
            path,
            buffer_while_disconnected=buffered,
            retry=Retry(initial=0.1, maximum=1.0),
            ping_interval=5.0,
            ping_timeout=5.0,
        )
        self.count += 1
        sender = Sender(f"client-{self.count}", client.on_next, 0, 0.0)
        self.senders[sender] = Observed(self.sim, client)
        return sender

    @rule(sender=clients, number=st.integers(1, 5))
    def send(self, sender: Sender, number: int) -> None:
        """Let a client send."""
        self._send(sender, number)

    @rule(number=st.integers(1, 3), path=st.sampled_from(PATHS))
    def send_in_group(self, number: int, path: str) -> None:
        """Let the group send, on a path that is opened if need be."""
        self.count += 1
        sender = Sender(
            f"group-{self.count}", lambda value: self.group.on_next(TaggedData(path, value)), 0, 0.0
        )
        self.senders[sender] = self.grouped
        self._send(sender, number)

    def _send(self, sender: Sender, number: int) -> None:
        first = len(sender.accepted)
        for index in range(first, first + number):
            sender.send(f"{sender.name} {index}")

    @rule(path=st.sampled_from(PATHS))
    def broadcast(self, path: str) -> None:
        """Let the server send to whoever is there."""
        self.count += 1
        self.server.on_next(TaggedData(path, f"server {self.count}"))

    @rule(target=clients, sender=consumes(clients), timeout=seconds)
    def close_client(self, sender: Sender, timeout: float) -> Any:
        """Close a client, which may take its time."""
        self.senders[sender].component.close(timeout)
        return multiple()

    @rule(path=st.sampled_from(PATHS))
    def leave_path(self, path: str) -> None:
        """Close a client of the group."""
        client = self.group._clients.get(path)
        if client is not None:
            client.close(0.1)

    @rule(duration=seconds)
    def wait(self, duration: float) -> None:
        """Let time pass."""
        self.sim.advance(duration)

    # The network.

    @rule(path=st.sampled_from((None, *PATHS)))
    def sever(self, path: str | None) -> None:
        """Break connections."""
        self.sim.net.sever(path=path)

    @rule()
    def hold(self) -> None:
        """Deliver nothing for now."""
        self.sim.net.hold()

    @rule()
    def release(self) -> None:
        """Deliver again."""
        self.sim.net.release()

    @rule()
    def refuse(self) -> None:
        """Refuse connections from now on."""
        self.sim.net.refuse(self.port)

    @rule()
    def restore(self) -> None:
        """Refuse none any more."""
        self.sim.net.restore()

    @rule(kind=st.sampled_from(("reject_next", "hang_next_connect", "accept_then_close")))
    def spoil_next_connect(self, kind: str) -> None:
        """Let something go wrong with the next connection."""
        getattr(self.sim.net, kind)()

    @rule()
    def fail_next_send(self) -> None:
        """Let the next send break its connection."""
        self.sim.net.fail_next_send()

    # What must hold.

    @invariant()
    def server_has_what_was_sent(self) -> None:
        """Each message came at most once, and in order."""
        if hasattr(self, "served"):
            received = [tagged.data for tagged in self.served.values.values]
            check_received(received, list(self.senders))

    @invariant()
    def nobody_ended(self) -> None:
        """No stream has ended whose component is open."""
        for observed in self.senders.values():
            if isinstance(observed.component, RxWSClient) and observed.component._hub.is_open:
                assert not observed.values.ended

    def teardown(self) -> None:
        """Close everything, and check that each message is accounted for."""
        if not hasattr(self, "served"):
            self.sim.close()
            return
        with self.sim:
            observed = list(dict.fromkeys((*self.senders.values(), self.grouped, self.served)))
            for one in observed:
                one.component.close(1.0)
            self.sim.advance(60.0)
            for one in observed:
                assert one.component.close(1.0)
                one.check_end()
            for one in observed[:-1]:
                one.check_sent([sender for sender, of in self.senders.items() if of is one])


TestComponents = Components.TestCase
TestComponents.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    database=None,
    derandomize="RXPLUS_EXPLORE" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
