"""Looks for a secret in files and process lists: plain, in base64, and compressed."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
LOGS = (".log", ".out", ".err")


def files_with(secret: str, *folders: Path) -> set[Path]:
    """Return the files below some folders that hold a secret in any form."""
    found = set()
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and holds(path.read_bytes(), secret):
                found.add(path)
    return found


def holds(content: bytes, secret: str, depth: int = 2) -> bool:
    """Tell whether bytes hold a secret: as it is, or within what they encode."""
    raw = secret.encode()
    if raw in content or any(each in content for each in _encodings(raw)):
        return True
    return depth > 0 and any(holds(inner, secret, depth - 1) for inner in _decoded(content))


def _encodings(raw: bytes) -> Iterator[bytes]:
    """Yield what a secret looks like inside of base64, at each of the three offsets."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw)
        # the first and last digits also depend on the neighbours
        yield encoded[4 * bool(offset) + offset : len(encoded) - 4]


def _decoded(content: bytes) -> Iterator[bytes]:
    for part in _BASE64.findall(content):
        padded = part.rstrip(b"=") + b"=" * (-len(part.rstrip(b"=")) % 4)
        try:
            yield zlib.decompress(base64.b64decode(padded, altchars=b"-_", validate=False))
        except (zlib.error, binascii.Error):
            continue


def others_can_read(path: Path) -> bool:
    """Tell whether another user can read a file: its own bits, and the way there."""
    if not path.stat().st_mode & stat.S_IROTH:
        return False
    return all(each.stat().st_mode & stat.S_IXOTH for each in path.absolute().parents)


def nobody_reads(path: Path) -> bool:
    """Really try to read a file as another user; needs root."""
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", str(path)]
    return subprocess.run(words, capture_output=True, check=False).returncode != 0


def logs(*folders: Path) -> list[Path]:
    """Return the log files below some folders."""
    return [path for folder in folders for path in folder.rglob("*") if path.suffix in LOGS]


@contextmanager
def watching_processes(*secrets: str) -> Iterator[list[str]]:
    """Look at the command lines of all processes meanwhile, and give those with a secret."""
    seen: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for name in os.listdir("/proc"):
                if name.isdigit():
                    try:
                        line = Path(f"/proc/{name}/cmdline").read_bytes()
                    except OSError:
                        continue
                    if any(holds(line, secret, 0) for secret in secrets):
                        seen.append(line.decode(errors="replace"))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
