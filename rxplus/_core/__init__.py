"""Decisions without I/O: no asyncio, no threads, no sockets, no Rx."""
