"""The import path of earlier versions."""

from rxplus._core.routing import Channel as WS_Channels
from rxplus.client import RxWSClient
from rxplus.config import validate_conn_cfg as _validate_conn_cfg
from rxplus.datatypes import WSBytes, WSDatatype, WSJson, WSObject, WSStr, wsdt_factory
from rxplus.errors import RxException
from rxplus.group import RxWSClientGroup
from rxplus.server import RxWSServer
from rxplus.tagged import TaggedData, tag, tag_filter, untag

__all__ = [
    "RxException",
    "RxWSClient",
    "RxWSClientGroup",
    "RxWSServer",
    "TaggedData",
    "WSBytes",
    "WSDatatype",
    "WSJson",
    "WSObject",
    "WSStr",
    "WS_Channels",
    "_validate_conn_cfg",
    "tag",
    "tag_filter",
    "untag",
    "wsdt_factory",
]
