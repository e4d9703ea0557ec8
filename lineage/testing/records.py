"""Records with little to say, for tests of what becomes of them."""

from __future__ import annotations

from ..events import Published
from ..model import Location

__all__ = ["publish"]


def publish(
    name: str = "model", path: str = "/out/1", content: str | None = None, **facts: object
) -> Published:
    """Make a publish record with little to say.

    Without a content nobody can take it for one that was there before: if a fault has it taken
    twice, there are two versions.
    """
    values: dict[str, object] = {"run": "run", "type": "model", **facts}
    return Published(name=name, location=Location(path), fingerprint=content, **values)  # type: ignore[arg-type]  # any facts
