"""The commands that read the bytes of versions: to seal them, and to see that they are the same."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ..errors import LineageError, StoreBusy, StoreError
from ..pace import yield_to_others
from ..sealing import alone
from ..seals import Verdict, seal_all
from .commands import Command, Commands, open_store
from .exits import CHANGED, GONE, LEFT_OUT, OK, UNVERIFIED, USAGE, explain
from .present import progress_of_each, say, show_json
from .words import Parser, Words, add_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..model import Version
    from ..registry import Lineage

    Move = Callable[[int, int], object]
    Begin = Callable[[Version], Move]
    Result = tuple[str, Version | None, LineageError | OSError | None]


_MEGABYTE = 10**6
_STATUSES = (  # the worst first
    ((Verdict.CHANGED,), CHANGED),
    ((Verdict.MISSING, Verdict.GONE), GONE),
    ((Verdict.UNVERIFIED, Verdict.UNSEEN), UNVERIFIED),
    ((Verdict.UNCHANGED,), OK),
)


def register(commands: Commands) -> None:
    """Add these commands."""
    commands.add(
        Command("seal", "read all bytes of versions and record their digest", _seal_words, seal),
        Command(
            "verify", "see whether versions are still there and unchanged", _verify_words, verify
        ),
    )


# ------------------------------------------------------------------------ sealing


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of megabytes above 0")
    return rate * _MEGABYTE


def _seal_words(parser: Parser) -> None:
    parser.add_argument("refs", nargs="*", metavar="REF", help="a version; none: as --all")
    parser.add_argument(
        "--all", action="store_true",
        help="every live version without a digest whose bytes this host sees, the newest first",
    )  # fmt: skip
    parser.add_argument(
        "--rate", type=_rate, metavar="MB/S", help="read so many megabytes a second at the most"
    )
    add_json(parser)


def seal(words: Words) -> int:
    """Seal versions; one that cannot be sealed keeps no other from it."""
    if words.all and words.refs:
        sys.stderr.write("lineage: name versions or say --all, not both. Try: lineage seal --all\n")
        return USAGE
    yield_to_others()
    sealed: list[Version] = []
    left_out: list[tuple[str, LineageError | OSError]] = []
    with open_store(words) as store, progress_of_each() as begin:
        some = _some(store, words, begin) if words.refs else _all(store, words, begin)
        for name, version, error in some:
            if error is not None:
                left_out.append((name, error))
            elif version is not None:
                sealed.append(version)
                if not words.json:
                    say(f"{version.uri}  {version.digest}")
    statuses = [explain(error) for _, error in left_out]
    if words.json:
        why = [{"version": name, "why": str(error)} for name, error in left_out]
        show_json({"sealed": sealed, "left_out": why})
    return next(iter(statuses), OK) if words.refs else LEFT_OUT if statuses else OK


def _some(store: Lineage, words: Words, begin: Begin) -> Iterator[Result]:
    """Seal the versions that were named."""
    for reference in words.refs:
        try:
            version = store.version(reference)
            sealed = store.seal(reference, rate=words.rate, progress=begin(version))
        except StoreError:
            raise
        except (LineageError, OSError) as error:
            yield reference, None, error
        else:
            yield reference, sealed, None


def _all(store: Lineage, words: Words, begin: Begin) -> Iterator[Result]:
    """Seal all versions, unless another process does that already."""
    folder = store.journal.cache
    if folder is None:
        yield from _results(store, words, begin)
        return
    with alone(folder) as mine:
        if not mine:
            raise StoreBusy(
                "another process seals for this store on this host already, and will take what is "
                "there; name versions to seal them now"
            )
        yield from _results(store, words, begin)


def _results(store: Lineage, words: Words, begin: Begin) -> Iterator[Result]:
    for version, error in seal_all(store, rate=words.rate, progress=begin):
        yield str(version.uri), version, error


# ---------------------------------------------------------------------- verifying


def _verify_words(parser: Parser) -> None:
    parser.add_argument("refs", nargs="+", metavar="REF", help="a version")
    add_json(parser)


def verify(words: Words) -> int:
    """Verify versions; the exit status is that of the worst."""
    with open_store(words) as store, progress_of_each() as begin:
        found = [store.verify(each, begin(store.version(each))) for each in words.refs]
    if words.json:
        show_json(found)
    else:
        for each in found:
            say(each.sentence)
    return next(status for verdict, status in _STATUSES if any(f.verdict in verdict for f in found))
