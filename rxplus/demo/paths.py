"""The paths that the demo uses."""

from __future__ import annotations

__all__ = ["CPU", "DASHBOARD", "FEED", "GROUP", "MEMORY", "NETWORK", "UPWARD"]

CPU = "/cpu"
MEMORY = "/memory"
NETWORK = "/network"
GROUP = (CPU, MEMORY, NETWORK)
"""What the group sends on."""

DASHBOARD = "/dashboard"
"""What the client sends the load on; the server answers it with the dashboard."""

UPWARD = (*GROUP, DASHBOARD)
"""The accounts of what clients send."""

FEED = "/dashboard (from the server)"
"""The account of what the server sends."""
