"""Evidence from the kernel's own log of calls: what is acknowledged was synced before."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nemotron import lineage

from .conftest import ROOT

STRACE = shutil.which("strace")
pytestmark = pytest.mark.skipif(
    STRACE is None,
    reason="NOT SHOWN that a sync precedes the acknowledgement: apt-get install strace",
)

ACKNOWLEDGED = "acknowledged"
WARM = """
import os, sys
import nemotron.lineage as lineage
from nemotron.lineage.testing import publish
store = lineage.open(sys.argv[1])
writer = store.intake_writer(None, run="r")
writer.append(publish(path="/warm"))
store.commit(publish(path="/warm/2"))
os.write(1, b"begin\\n")
"""
PUBLISH = WARM + 'store.commit(publish(path="/1"))\nos.write(1, b"acknowledged\\n")\n'
RECORD = WARM + 'writer.append(publish(path="/1"))\nos.write(1, b"acknowledged\\n")\n'
CALLS = "open,openat,write,pwrite64,fsync,fdatasync,link,linkat,rename,renameat,close"


class Call(NamedTuple):
    """A system call: its name and its words, descriptors shown with their paths."""

    name: str
    words: str


def _calls(code: str, place: Path, log: Path) -> list[Call]:
    """Return the calls between the marks that a program writes, in order."""
    assert STRACE is not None
    done = subprocess.run(
        [STRACE, "-f", "-y", "-s", "64", "-e", f"trace={CALLS}", "-o", str(log), sys.executable,
         "-c", code, str(place)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if "ptrace" in done.stderr:
        pytest.skip(f"NOT SHOWN that a sync precedes the acknowledgement: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found = list(_parse(log.read_text()))
    begin = next(at for at, call in enumerate(found) if '"begin' in call.words)
    end = next(at for at, call in enumerate(found) if f'"{ACKNOWLEDGED}' in call.words)
    return found[begin + 1 : end]


def _parse(text: str) -> Iterator[Call]:
    for line in text.splitlines():
        match = re.match(r"\d+ +(\w+)\((.*)", line)
        if match and not match[2].endswith("= -1"):
            yield Call(*match.groups())


def _last(calls: list[Call], names: tuple[str, ...], words: str) -> int:
    found = [
        at for at, call in enumerate(calls) if call.name in names and re.search(words, call.words)
    ]
    assert found, f"no {'/'.join(names)} of {words} in {calls}"
    return found[-1]


WRITES, SYNCS = ("write", "pwrite64"), ("fsync", "fdatasync")


def test_sqlite_commit_is_synced_before_it_is_acknowledged(tmp_path: Path) -> None:
    calls = _calls(PUBLISH, tmp_path / "lineage.db", tmp_path / "log")
    written = _last(calls, WRITES, r"lineage\.db-wal>")
    assert _last(calls, SYNCS, r"lineage\.db-wal>") > written


def test_directory_commit_is_synced_with_its_name_before_it_is_acknowledged(
    tmp_path: Path,
) -> None:
    calls = _calls(PUBLISH, tmp_path / "lineage", tmp_path / "log")
    opened = _last(calls, ("open", "openat"), r"commits/000000/\.new-.*O_DSYNC")
    written = _last(calls, WRITES, r"commits/000000/\.new-")
    linked = _last(calls, ("link", "linkat"), r"commits/000000/000000\d+\.json")
    synced = _last(calls, SYNCS, r"commits/000000>")
    assert opened < written < linked < synced


@pytest.mark.parametrize("address", ["lineage.db", "lineage"])
def test_record_of_a_hook_is_one_synced_append(tmp_path: Path, address: str) -> None:
    calls = _calls(RECORD, tmp_path / address, tmp_path / "log")
    flags = (tmp_path / "log").read_text()
    (append,) = [call for call in calls if call.name in WRITES]
    path = re.search(r"<(.*\.jsonl)>", append.words)
    assert path is not None
    assert re.search(rf'"{re.escape(path[1])}", [A-Z_|]*O_DSYNC', flags)
    with lineage.open(tmp_path / address) as store:
        assert store.resolve("model").address == "/1"


TAKEN = (
    WARM
    + """
writer = store._combiner._own_intake()
real = writer.write
def write(event):
    entry = real(event)
    with lineage.open(sys.argv[1]) as other:
        other.journal._files.sync_folder = lambda folder: None  # it has not come to that yet
        assert other.combine() == 1
    os.write(1, b"taken\\n")
    return entry
writer.write = write
store._combiner._crowded = True
store.commit(publish(path="/1"))
os.write(1, b"acknowledged\\n")
"""
)


def test_record_that_another_writer_took_is_synced_before_it_is_acknowledged(
    tmp_path: Path,
) -> None:
    """Who took it may be on its way to its own sync when we see its commit."""
    calls = _calls(TAKEN, tmp_path / "lineage", tmp_path / "log")
    taken = next(at for at, call in enumerate(calls) if '"taken' in call.words)
    assert _last(calls, SYNCS, r"commits/000000>") > taken
