"""What SQLite does not tell: that it has passed over the end of a damaged log.

SQLite reads its write-ahead log (https://sqlite.org/fileformat2.html#walformat) up to the first
frame that is not right, and takes what follows for rubbish of an older run. That is what it is
after a crash in the middle of a write. But a commit of this run behind it means that the log has
been damaged, and that messages which were safe would be lost without a word.
"""

from __future__ import annotations

import struct
from pathlib import Path

__all__ = ["frames_read", "last_commit"]

_HEADER = struct.Struct(">4sII4s8s8s")
"""Magic, version, page size, sequence number, salts, checksum of these."""

_FRAME_HEADER = struct.Struct(">4sI8s8s")
"""Page number, size of the database after a commit or 0, salts, checksum."""

_INDEX_FRAMES = 16
"""Where the number of frames is in the index."""

_WORDS = {b"\x37\x7f\x06\x82": "<6I", b"\x37\x7f\x06\x83": ">6I"}
"""By magic: how the log's checksums see what they sum up."""


def last_commit(wal: Path) -> int:
    """Return the number, from 1, of the last frame of this run that surely ended a commit.

    That of the very last frame may have been cut short by the end of the process: there is no
    telling from its header, which is written first. One with another behind it was complete.

    Raises:
        ValueError: the log's header is damaged, so that nothing in it would be read.
    """
    try:
        log = wal.open("rb")
    except FileNotFoundError:
        return 0
    with log:
        start = log.read(_HEADER.size)
        if len(start) < _HEADER.size:
            return 0  # made, and not written yet
        magic, _, page_size, _, salts, checksum = _HEADER.unpack(start)
        if magic not in _WORDS or _checksum(struct.unpack_from(_WORDS[magic], start)) != checksum:
            raise ValueError("the header of its log is not right")
        last = number = commit = 0
        while len(frame := log.read(_FRAME_HEADER.size)) == _FRAME_HEADER.size:
            number += 1
            _, size, found, _ = _FRAME_HEADER.unpack(frame)
            if found == salts:
                last = commit or last
                commit = number if size else 0
            log.seek(page_size, 1)
        return last


def frames_read(shm: Path) -> int:
    """Return how many frames SQLite takes for good, as long as the database is open.

    It is in the index that SQLite keeps beside the log (https://sqlite.org/walformat.html).
    """
    with shm.open("rb") as index:
        return int(struct.unpack_from("=I", index.read(_INDEX_FRAMES + 4), _INDEX_FRAMES)[0])


def _checksum(words: tuple[int, ...]) -> bytes:
    one = two = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return struct.pack(">II", one, two)
