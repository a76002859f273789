"""The default transport: WebSockets over TCP and TLS, through the ``websockets`` library.

The library does the handshakes, parses, answers pings, enforces limits and closes. Three
things are done here instead, because the design's numbers depend on them:

- a message goes from the library's parser straight to the receiver: no queue, no task;
- a batch of messages is one write;
- keepalive and the limit on closing are timers, so that an idle connection has no task.
"""

from rxplus.transports.websockets.partial import MAX_FRAGMENTS
from rxplus.transports.websockets.transport import WebSocketsTransport

__all__ = ["MAX_FRAGMENTS", "WebSocketsTransport"]
