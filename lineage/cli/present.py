"""Shows values: as JSON for programs, as aligned lines for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..clock import write_time
from ..graph import Node
from ..model import Input, Source, Version, VersionId
from ..source import SourceURI
from ..uri import ArtifactURI

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = [
    "brief", "flush", "plain", "progress", "progress_of_each", "say", "say_path", "show_json",
    "table", "when",
]  # fmt: skip


_LINES = str.maketrans("│├└─", "||`-")


def plain(value: Any) -> Any:
    """Bring a value down to JSON."""
    if isinstance(value, Node):
        return {"uri": value.uri, "kind": value.kind, "type": value.type, "state": value.state}
    if isinstance(value, (ArtifactURI, SourceURI, VersionId)):
        return str(value)
    if isinstance(value, Source):
        return str(value.uri)
    if isinstance(value, datetime):
        return write_time(value)
    if isinstance(value, Version):
        return {"uri": str(value.uri), "name": value.name, "number": value.number, **_fields(value)}
    if isinstance(value, Input):
        return {key: item for key, item in _fields(value).items() if item is not None}
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if hasattr(value, "_asdict"):
        return {key: plain(item) for key, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value


def _fields(value: Any) -> dict[str, Any]:  # any dataclass
    return {spec.name: plain(getattr(value, spec.name)) for spec in fields(value)}


def show_json(value: object) -> None:
    """Print a value as JSON."""
    shown = plain(value)
    text = json.dumps(shown, indent=2, ensure_ascii=False)
    say(text if _can_show(text) else json.dumps(shown, indent=2))


def say(text: str = "") -> None:
    """Print a line of the answer; what the terminal's encoding does not have is spelt out."""
    if not _can_show(text):
        encoding = sys.stdout.encoding
        text = text.translate(_LINES).encode(encoding, "backslashreplace").decode(encoding)
    if sys.stdout is not None:  # it is in "lineage log x >&-"
        sys.stdout.write(text + "\n")


def flush() -> None:
    """Hand on what was printed.

    Raises:
        OSError: nobody takes it.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def say_path(path: str) -> None:
    """Print a path: its very bytes where the terminal's encoding does not have them."""
    if _can_show(path):
        say(path)
    else:
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")


def _can_show(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns; nothing is cut off, so that it can be searched and copied."""
    cells = [list(headings), *([_line(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(headings))]
    for row in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _line(text: str) -> str:
    """Spell out what would break the line or steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def when(moment: datetime | None) -> str:
    """Show a time to the second, in UTC."""
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")


def brief(metadata: Mapping[str, Any], limit: int = 4) -> str:
    """Show the first few entries of metadata in a line."""
    shown = [f"{key}={_short(value)}" for key, value in list(metadata.items())[:limit]]
    return " ".join(shown) + (" ..." if len(metadata) > limit else "")


def _short(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else text[:21] + "..."


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], object]]:
    """Show a progress bar on stderr when that is a terminal; give a function to move it."""
    with _bar("MofNCompleteColumn") as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def progress_of_each() -> Iterator[Callable[[Version], Callable[[int, int], object]]]:
    """Show how far the bytes of a version are, as above; give a function to begin the next."""
    with _bar("DownloadColumn", "TransferSpeedColumn") as bar:

        def begin(version: Version) -> Callable[[int, int], object]:
            for done in bar.task_ids:
                bar.remove_task(done)
            task = bar.add_task(str(version.uri), total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        yield begin


def _bar(*shown: str) -> Progress:
    from rich import progress as columns
    from rich.console import Console

    console = Console(stderr=True)
    return columns.Progress(
        "[progress.description]{task.description}", columns.BarColumn(),
        *(getattr(columns, each)() for each in shown), columns.TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
