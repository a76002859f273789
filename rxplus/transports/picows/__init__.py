"""The fast transport: the default one, with picows in the place where the time goes.

Opening, closing, keepalive, limits and everything that is rare are the default transport's, to
the byte. Whole messages, which are nearly all of what arrives, are parsed by picows, in C.
"""

from rxplus.transports.picows.transport import PicowsTransport

__all__ = ["PicowsTransport"]
