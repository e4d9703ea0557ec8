"""Says of what W&B refers to whether it is what was logged, where that can be said at all.

W&B's digest of a reference may be one of its content, or only of its address
(``checksum=False``): the latter proves nothing. No check of the SDK is ever turned off.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ..digests import digest, fingerprint
from ..errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VERIFIED", "verify"]

VERIFIED = "verified"
_CHUNK = 1 << 22


def verify(name: str, entries: Mapping[str, tuple[str | None, str, int | None]], limit: int) -> str:
    """Compare what lies on this host with the digests of an artifact.

    Args:
        name: of the artifact, for sentences.
        entries: its manifest: path inside -> (address or None for an upload, digest, size).
        limit: bytes to read at the most.

    Returns:
        ``verified``, or ``unverified: `` and why.

    Raises:
        Conflict: something is not what was logged.
    """
    references = {path: entry for path, entry in entries.items() if entry[0] is not None}
    if not references:
        return "unverified: its files are in W&B's own storage"
    seen = 0
    for path, (address, said, _) in references.items():
        place = _local(address or "")
        if place is None:
            return f"unverified: {address} is not on a filesystem"
        if said == _of_address(place):
            return "unverified: logged without checksums"
        if not os.path.exists(place):
            return f"unverified: {place} is not there on this host"
        seen += 0 if os.path.isdir(place) else os.path.getsize(place)
        if seen > limit:
            return f"unverified: over {limit >> 20} MiB to read"
        found = _measure(place, said, limit)
        if found is None:
            return f"unverified: the digest of {path} is of no kind that is known"
        if found != said:
            raise Conflict(
                f"{place} is not what {name} logged as {path} (digest {found}, not {said})"
            )
        if said.startswith("fp1:"):
            return "unverified: names, sizes and small files agree, no digest was taken"
    return VERIFIED


def _measure(place: str, said: str, limit: int) -> str | None:
    """Return the digest of a place, of the kind that was logged; None for an unknown kind."""
    if said.startswith("fp1:"):
        return fingerprint(place)
    if said.startswith("blake3:"):
        size = sum(os.path.getsize(os.path.join(f, n)) for f, _, ns in os.walk(place) for n in ns)
        return digest(place).text if size <= limit else None
    if len(said) == 24 and said.endswith("==") and os.path.isfile(place):
        return _md5(place)
    return None


def _md5(place: str) -> str:
    total = hashlib.md5(usedforsecurity=False)
    with open(place, "rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return base64.b64encode(total.digest()).decode()


def _of_address(place: str) -> str:
    """Return what the SDK writes for a file whose content it did not read."""
    uri = Path(place).resolve().as_uri().encode()
    return base64.b64encode(hashlib.md5(uri, usedforsecurity=False).digest()).decode()


def _local(address: str) -> str | None:
    return unquote(address.removeprefix("file://")) if address.startswith("file:///") else None
