"""The lines of an intake: one record each, with a checksum that shows whether it is whole.

::

    <crc32 of the rest, 8 hex digits> <json>

The first line of a file says who writes. A write that was cut off (full disk, power loss) leaves a
line that does not verify; readers pass over it.
"""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any
from zlib import crc32

from .commits import Entry
from .errors import StoreDamaged
from .events import KINDS, from_payload
from .metadata import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .clock import Clock

__all__ = ["entries", "header_line", "is_newer", "parse_line", "read_line", "write_line"]

_log = logging.getLogger(__name__)


def write_line(entry: Entry) -> bytes:
    """Write the line of a record."""
    event = entry.event
    return _line({
        "id": entry.id, "kind": event.kind, "form": event.form, "occurred": entry.occurred,
        "payload": event.payload(),
    })  # fmt: skip


def read_line(line: bytes, place: str) -> Entry | None:
    """Read the line of a record; None when only a newer release can.

    Args:
        line: as ``write_line`` wrote it.
        place: where it lies, for the log.

    Raises:
        StoreDamaged: it does not verify.
    """
    record = parse_line(line.rstrip(b"\n"))
    if record is None:
        raise StoreDamaged(f"a record in {place} does not verify; see it with: lineage where")
    return _entry(record, place, line)


def is_newer(record: Mapping[str, Any]) -> bool:
    """Tell whether only a newer release can take a record."""
    kind = KINDS.get(record["kind"])
    return kind is None or record["form"] > kind.form


def _entry(record: Mapping[str, Any], place: str, line: bytes) -> Entry | None:
    if is_newer(record):
        _log.warning("%s: %s records need a newer release; left for it", place, record["kind"])
        return None
    # half of a surrogate pair, or a whole one
    payload = _text(record["payload"]) if b"\\ud" in line else record["payload"]
    event = from_payload(record["kind"], payload, form=record["form"])
    return Entry(record["id"], record["occurred"], event)


def _text(value: Any) -> Any:
    """Replace what is no text: bytes of a file's name, say, that are no UTF-8.

    No database holds it: one such record in an intake would stop everybody who combines.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_text(key): _text(each) for key, each in value.items()}
    return [_text(each) for each in value] if isinstance(value, list) else value


def header_line(writer: str, clock: Clock, about: Mapping[str, Any]) -> bytes:
    """Write the first line of a file: who writes."""
    return _line({
        "intake": 1, "writer": writer, "pid": os.getpid(), "created": clock.now(), **about,
    })  # fmt: skip


def _line(record: Mapping[str, Any]) -> bytes:
    body = canonical_json(record).encode("ascii")
    return b"%08x %b\n" % (crc32(body), body)


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Read the JSON of one line, or return None when it was cut off or damaged."""
    checksum, _, body = line.partition(b" ")
    try:
        if len(checksum) != 8 or int(checksum, 16) != crc32(body):
            return None
        parsed = json.loads(body)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def entries(path: str, data: bytes) -> Iterator[tuple[Entry | None, int]]:
    """Yield (entry, end of its line); None in place of one that a newer release wrote."""
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        line, start = data[start:end], end + 1
        record = parse_line(line)
        if record is None:
            if line.strip():  # spaces are what redaction leaves
                _log.warning("%s: a record was cut off and is left out", path)
            continue
        if "intake" in record:
            continue
        entry = _entry(record, path, line)
        yield entry, start
        if entry is None:
            return
