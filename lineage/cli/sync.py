"""The command that brings mirrors up to date."""

from __future__ import annotations

import sqlite3
import sys
import time
from typing import TYPE_CHECKING

from ..errors import MirrorUnready, StoreError
from .commands import Command, Commands, open_store
from .exits import OK, UNDELIVERED
from .foreign import seconds
from .present import progress, say, show_json
from .words import Parser, Words, add_json

if TYPE_CHECKING:
    from ..audit import Progress
    from ..mirror.worker import Status, Worker


_PATIENCE = 60.0  # seconds without anything arriving, after which one call gives up
_PAUSE = 0.5


def register(commands: Commands) -> None:
    """Add the command."""
    commands.add(
        Command("sync", "deliver to W&B and other mirrors what they have not heard", _words, sync)
    )


def _words(parser: Parser) -> None:
    from ..mirror.chosen import MIRRORS

    parser.add_argument("--mirror", choices=MIRRORS, help="this one only, on or not")
    parser.add_argument("--status", action="store_true", help="say what is left; deliver nothing")
    parser.add_argument("--retry", action="store_true", help="try what was refused once more")
    parser.add_argument(
        "--again", action="store_true", help="look up everything; what a mirror lost is sent anew"
    )
    parser.add_argument(
        "--watch", metavar="SECONDS", type=seconds, nargs="?", const=10.0,
        help="go on until interrupted, and look for news every SECONDS (default 10)",
    )  # fmt: skip
    add_json(parser)


def sync(words: Words) -> int:
    """Deliver what is left, once or for as long as it runs."""
    from ..mirror.sync import open_workers

    with open_store(words) as store:
        workers = open_workers(store, only=words.mirror, again=words.again)
        try:
            for worker in workers:
                if words.again:
                    worker.doubt()
                if words.retry:
                    worker.revive()
            if not words.status:
                _deliver(workers, words)
            return _report([worker.status() for worker in workers], words)
        finally:
            for worker in workers:
                worker.close()


def _deliver(workers: list[Worker], words: Words) -> None:
    faults: dict[str, str] = {}
    with progress("delivering") as move:
        while True:
            began = time.monotonic()
            for worker in workers:
                try:
                    _bring_up(worker, move, began)
                    faults.pop(worker.name, None)
                except (MirrorUnready, StoreError, OSError, sqlite3.Error) as error:
                    if words.watch is None and not isinstance(error, MirrorUnready):
                        raise
                    # who watches goes on: a server comes back, a share is mounted again
                    if faults.get(worker.name) != str(error):
                        faults[worker.name] = str(error)
                        _complain(error)
            if words.watch is None:
                return
            sys.stdout.flush()
            time.sleep(words.watch)


def _bring_up(worker: Worker, move: Progress, began: float) -> None:
    """Deliver until nothing is left, or nothing has arrived for a while.

    Raises:
        MirrorUnready: something of it cannot be used from here.
    """
    patient = False
    fault: MirrorUnready | None = None
    while True:
        before = worker.delivered
        try:
            worker.work(patient=patient)
        except MirrorUnready as error:
            fault = error  # what goes to another server may still have to wait for something
        count = worker.delivered - before
        status = worker.status()
        move(worker.delivered, worker.delivered + status.left)
        if count:
            began = time.monotonic()
        if not status.left or time.monotonic() - began > _PATIENCE:
            break
        if not count and patient and not worker.is_hopeful:
            break  # all of it waits for somebody else
        patient = not count  # what waited for something that arrived just now
        if patient:
            time.sleep(min(_PAUSE, worker.next_try()))
    if fault is not None:
        raise fault


def _complain(error: Exception) -> None:
    sys.stderr.write(f"lineage: {error}\n")


def _report(statuses: list[Status], words: Words) -> int:
    if words.json:
        show_json(statuses)
    else:
        for status in statuses:
            _show(status)
    whole = all(not status.left and not status.dead for status in statuses)
    return OK if whole else UNDELIVERED


def _show(status: Status) -> None:
    delivered = f"{status.delivered} delivered, " if status.delivered else ""
    since = f", the oldest since {status.since[:19].replace('T', ' ')}" if status.since else ""
    say(f"{status.mirror}: {delivered}{status.left} left{since}, {len(status.dead)} refused")
    for waiting in status.runs:
        held = status.held.get(waiting.run)
        by = f", being delivered by {held}" if held else ""
        say(f"  run:{waiting.run}: {waiting.left} left{by}")
    if status.words:
        say(f"  last: {status.words}")
    for dead in status.dead:
        say(f"  refused {dead.subject}: {dead.words}")
    if status.dead:
        say("  after a cure: lineage sync --retry")
