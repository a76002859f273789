"""The session protocol ``rxplus.v1``: numbers, acknowledgements, resuming. See docs/protocol.md."""
