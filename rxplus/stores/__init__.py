"""Stores: where what must survive the process is kept."""

from rxplus.stores._salvage import Salvaged, salvage
from rxplus.stores.sqlite import SQLiteStore

__all__ = ["SQLiteStore", "Salvaged", "salvage"]
