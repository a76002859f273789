"""Stores: where what must survive the process is kept."""

from rxplus.stores._salvage import Salvaged, salvage
from rxplus.stores.sqlite import Expired, SQLiteStore

__all__ = ["Expired", "SQLiteStore", "Salvaged", "salvage"]
