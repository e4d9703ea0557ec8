"""``lineage run PROFILE -- COMMAND``: the launcher on the command line."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from nemotron.lineage import LineageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run", "run_words"]

_ART = re.compile(r"--art\.([\w.]+)(?:=(.*))?", re.DOTALL)
_USAGE = "say: lineage run PROFILE -- COMMAND ..."


def run_words(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.usage = "lineage run PROFILE [KEY=VALUE ...] [options] -- COMMAND ..."
    parser.add_argument(  # all in one: argparse would take the -- for its own
        "words", nargs=argparse.REMAINDER, metavar="PROFILE [KEY=VALUE ...] -- COMMAND ...",
        help="a profile of env.toml, what wins over it, and the command as the job is to run it",
    )  # fmt: skip
    _options(parser, None)
    parser.add_argument(
        "--art.NAME", dest="art", metavar="REF",
        help="give the command run.NAME=REF, pinned; stands behind PROFILE",
    )  # fmt: skip


def _options(parser: argparse.ArgumentParser, default: str | None) -> None:
    kept = default or False
    parser.add_argument(
        "--detach", action="store_true", default=kept, help="submit it, and do not wait"
    )
    parser.add_argument(
        "--dry-run", action="store_true", default=kept, help="show what would be done"
    )
    parser.add_argument(
        "--ray", action="store_true", default=kept, help="run it as a job of a Ray cluster"
    )
    parser.add_argument("--file", metavar="PATH", default=default, help="read this env.toml")


def run(words: argparse.Namespace) -> int:
    """Run a command where a profile says; the exit status is that of the job."""
    from .config.profiles import load_run_profile  # not for --help
    from .executors.classes import accepted
    from .launching import Request, launch

    before, command = _split(words.words)
    arts, before = _take_arts(before)
    parser = argparse.ArgumentParser(prog="lineage run", add_help=False, usage=_USAGE)
    _options(parser, argparse.SUPPRESS)
    parser.add_argument("--store", default=argparse.SUPPRESS)
    parser.add_argument("profile")
    parser.add_argument("overrides", nargs="*")
    chosen = parser.parse_intermixed_args(before, words)
    try:
        config = load_run_profile(
            chosen.profile, chosen.file, overrides=chosen.overrides, accepts=accepted
        )
        config = replace(
            config, detach=config.detach or chosen.detach, dry_run=config.dry_run or chosen.dry_run
        )
        return launch(
            Request(
                command=command,
                config=config,
                profile=chosen.profile,
                arts=arts,
                ray=chosen.ray,
                store=chosen.store,
                settings=chosen.file,
            )
        )
    except ImportError as error:
        raise LineageError(str(error)) from error


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what stands before ``--``, and the command behind it."""
    if "--" not in words or words[-1] == "--":
        raise LineageError(f"there is no command; {_USAGE}")
    at = list(words).index("--")
    return list(words[:at]), list(words[at + 1 :])


def _take_arts(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Take out ``--art.NAME REF``, which no parser knows beforehand."""
    arts, others, rest = {}, [], iter(words)
    for word in rest:
        found = _ART.fullmatch(word)
        if found is None:
            others.append(word)
            continue
        reference = found[2] if found[2] is not None else next(rest, None)
        if not reference:
            raise LineageError(f"{word} needs a reference, such as {word} sft-tokens:latest")
        arts[found[1]] = reference
    return arts, others
