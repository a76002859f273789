"""Implementations of :class:`rxplus.transport.Transport`, beside the interface they share."""
