"""A few rounds of each scenario of :mod:`kill_rounds`; that script runs as many as one likes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import kill_rounds
import pytest
from helpers import nothing_left

__all__ = ["nothing_left"]

pytestmark = pytest.mark.once

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="this machine lets only root mount disks")
needs_namespaces = pytest.mark.skipif(
    not kill_rounds.can_part(),
    reason="this machine makes no network namespaces for us"
    if shutil.which("ip")
    else "needs the command ip",
)


@pytest.mark.parametrize("size", [64, 16_384])
@pytest.mark.parametrize("target", ["server", "client", "both"])
def test_kill_in_the_middle_of_a_burst(tmp_path: Path, target: str, size: int) -> None:
    """Whoever is killed: no message is lost, none comes twice, none out of order."""
    kill_rounds.kill_rounds(tmp_path, target, rounds=2, size=size, burst=200)


def test_silence_of_a_proxy(tmp_path: Path) -> None:
    """Connections that have gone silent are noticed and replaced."""
    kill_rounds.partition(tmp_path, 2.0, 64, 300, 0.5, proxy=True)


@needs_namespaces
def test_silence_of_a_network(tmp_path: Path) -> None:
    """Packets that vanish for a while cost nothing but time."""
    kill_rounds.partition(tmp_path, 2.0, 64, 300, 0.5, proxy=False)


@needs_root
def test_full_disk(tmp_path: Path) -> None:
    """What a full disk has no room for is refused; what was accepted arrives."""
    kill_rounds.full_disk(tmp_path, 16_384)


def test_damaged_outbox(tmp_path: Path) -> None:
    """A damaged outbox is refused; what can be salvaged arrives."""
    kill_rounds.damaged_outbox(tmp_path, 64)


@pytest.mark.parametrize("resend", [True, False])
def test_session_that_expired(tmp_path: Path, resend: bool) -> None:
    """What is missed after a session has expired is reported, message by message."""
    figures = kill_rounds.expired_session(tmp_path, 64, resend=resend)
    assert figures["missed"] == (0 if resend else figures["reported_lost"])
