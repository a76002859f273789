"""``device-dashboard HOST PORT``: print readings and alarms until interrupted."""

from __future__ import annotations

import sys
import threading

from device_dashboard.dashboard import Dashboard

__all__ = ["main"]


def main() -> None:
    """Run the dashboard."""
    host, port = sys.argv[1:]
    with Dashboard({"host": host, "port": port, "path": "/devices"}) as dashboard:
        dashboard.online.subscribe(lambda online: print("online" if online else "offline"))
        dashboard.readings.subscribe(print)
        dashboard.alarms.subscribe(print)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("bye")


if __name__ == "__main__":
    main()
