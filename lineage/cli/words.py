"""Words on the command line that several commands take."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from ..clock import read_time

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Parser", "Words", "add_json", "add_moment", "count", "pair"]

Parser = argparse.ArgumentParser
Words = argparse.Namespace

_MOST = 2**63 - 1  # SQLite counts no further


def add_json(parser: Parser, what: str = "") -> None:
    """Let a command print JSON."""
    parser.add_argument("--json", action="store_true", help=f"print {what}JSON")


def add_moment(parser: Parser) -> None:
    """Let a command answer as of a moment."""
    parser.add_argument(
        "--at", metavar="MOMENT", type=_moment, help="as of a commit number or a time"
    )


def _moment(text: str) -> int | datetime:
    """Read a commit number, or a time as ISO 8601; without a zone it is UTC."""
    try:
        return count(text) if text.isascii() and text.isdigit() else read_time(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no commit number and no time such as 2026-11-24T08:00"
        ) from None


def count(text: str) -> int:
    """Read a number that is not negative."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    number = int(text)
    if number > _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is more than 2^63-1")
    return number


def pair(text: str) -> tuple[str, object]:
    """Read ``key=value``; the value is JSON where it reads as JSON, else text."""
    key, mark, value = text.partition("=")
    if not mark or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
