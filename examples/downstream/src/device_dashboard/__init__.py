"""What devices measure, which of them are too hot, and which are silent."""

from device_dashboard.dashboard import Alarm, Dashboard, Reading

__all__ = ["Alarm", "Dashboard", "Reading"]
