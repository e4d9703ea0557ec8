"""The commands that write to a store."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ..registry import ANY
from .commands import Command, Commands, open_store
from .foreign import import_kinds, import_wandb_kind
from .present import say, show_json
from .words import Parser, Words, add_json, pair

if TYPE_CHECKING:
    from ..model import Input, Version


def register(commands: Commands) -> None:
    """Add these commands."""
    commands.add(
        Command("publish", "publish a path as a new version", _publish_words, publish),
        Command("alias", "point an alias at a version, or remove it", _alias_words, alias),
        Command("retire", "declare a version gone for good", _reason_words, retire),
        Command("hold", "keep a version from being retired", _reason_words, hold),
        Command("release", "let a held version be retired again", _release_words, release),
        Command("relocate", "say that a version lies elsewhere now", _relocate_words, relocate),
        Command("import", "bring in what others made", _import_words, import_),
    )


def _answer(version: Version, words: Words) -> int:
    if words.json:
        show_json(version)
    else:
        say(str(version.uri))
    return 0


def _json(parser: Parser) -> None:
    add_json(parser, "the version as ")


def _version_words(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("path", metavar="PATH", help="file, folder or address")
    parser.add_argument("--type", required=True, help="model, dataset, tokenizer, ...")
    parser.add_argument(
        "--meta", action="append", default=[], metavar="KEY=VALUE", type=pair,
        help="metadata; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--alias", action="append", default=[], metavar="NAME", help="alias; may be repeated"
    )
    parser.add_argument("--external", action="store_true", help="another host sees the path")
    parser.add_argument("--digest", action="store_true", help="read and digest all bytes now")
    _json(parser)


def _publish_words(parser: Parser) -> None:
    _version_words(parser)
    parser.add_argument(
        "--input", action="append", default=[], metavar="[ROLE=]URI",
        help="what it was made from; may be repeated (roles: data, init, resume, tokenizer, ...)",
    )  # fmt: skip


def publish(words: Words) -> int:
    """Publish a path."""
    with (
        open_store(words, create=True) as store,
        store.run("lineage publish", job_type="manual") as run,
    ):
        inputs: list[Input] = []
        for text in words.input:
            role, mark, reference = text.partition("=")
            if not mark or not role.isidentifier():
                role, reference = "data", text
            found = store.refer(reference)
            inputs.append(run.input(found, role))
        version = run.publish(
            words.name, path=words.path, type=words.type, metadata=dict(words.meta),
            inputs=inputs, aliases=words.alias, external=words.external,
            digest="now" if words.digest else "later",
        )  # fmt: skip
    return _answer(version, words)


def _import_words(parser: Parser) -> None:
    shelf = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    sub = shelf.add_parser("dir", help="an existing model or data folder, with declared origin")
    sub.add_argument("path", metavar="PATH", help="file or folder")
    sub.add_argument("--name", required=True, help="name of the artifact")
    sub.add_argument("--type", required=True, help="model, dataset, tokenizer, ...")
    sub.add_argument(
        "--origin", action="append", default=[], metavar="URI",
        help="where it came from, e.g. hf://org/name@revision; may be repeated",
    )  # fmt: skip
    sub.add_argument("--meta", action="append", default=[], metavar="KEY=VALUE", type=pair,
                     help="metadata; may be repeated")  # fmt: skip
    sub.add_argument("--alias", action="append", default=[], metavar="NAME", help="alias")
    sub.add_argument("--digest", action="store_true", help="read and digest all bytes now")
    # without a default of its own: it would hide a --store that stands before "dir"
    sub.add_argument("--store", metavar="STORE", help="store to use", default=argparse.SUPPRESS)
    _json(sub)
    sub.set_defaults(import_kind=import_dir)
    import_kinds(shelf)
    import_wandb_kind(shelf)


def import_(words: Words) -> int:
    """Import something; the kinds are subcommands."""
    status: int = words.import_kind(words)
    return status


def import_dir(words: Words) -> int:
    """Register an existing folder as a version of its own origin."""
    with (
        open_store(words, create=True) as store,
        store.run("lineage import", job_type="import") as run,
    ):
        for origin in words.origin:
            run.use(origin, role="data" if words.type == "dataset" else "init")
        version = run.publish(
                words.name, path=words.path, type=words.type, metadata=dict(words.meta),
                aliases=words.alias, digest="now" if words.digest else "later",
            )  # fmt: skip
    return _answer(version, words)


def _alias_words(parser: Parser) -> None:
    parser.add_argument("uri", metavar="URI", help="the version; with --delete the artifact")
    parser.add_argument("alias", metavar="ALIAS")
    parser.add_argument(
        "--expect", metavar="VERSION", help="only if it points there now; none: if it is new"
    )
    parser.add_argument("--delete", action="store_true", help="remove the alias")
    _json(parser)


def alias(words: Words) -> int:
    """Move or remove an alias."""
    expect = ANY if words.expect is None else None if words.expect == "none" else words.expect
    with open_store(words) as store:
        if words.delete:
            store.unalias(words.uri, words.alias, expect=expect)
            return 0
        return _answer(store.alias(words.uri, words.alias, expect=expect), words)


def _reason_words(parser: Parser) -> None:
    parser.add_argument("uri", metavar="URI")
    parser.add_argument("--reason", required=True, help="why; it is recorded")
    _json(parser)


def retire(words: Words) -> int:
    """Declare a version gone, and say what was made from it."""
    with open_store(words) as store:
        version = store.retire(words.uri, words.reason)
        heirs = store.lineage(version.uri).descendants()
    if heirs:
        shown = ", ".join(node.uri for node in heirs[:3])
        more = f" and {len(heirs) - 3} more" if len(heirs) > 3 else ""
        sys.stderr.write(f"note: made from it: {shown}{more}\n")
    return _answer(version, words)


def hold(words: Words) -> int:
    """Keep a version from being retired."""
    with open_store(words) as store:
        version = store.resolve(words.uri)
        store.hold(version, words.reason)
    return _answer(version, words)


def _release_words(parser: Parser) -> None:
    parser.add_argument("uri", metavar="URI")
    _json(parser)


def release(words: Words) -> int:
    """Let a held version be retired again."""
    with open_store(words) as store:
        version = store.version(words.uri)
        store.release(version)
    return _answer(version, words)


def _relocate_words(parser: Parser) -> None:
    parser.add_argument("uri", metavar="URI")
    parser.add_argument("path", metavar="PATH")
    parser.add_argument("--external", action="store_true", help="another host sees the path")
    _json(parser)


def relocate(words: Words) -> int:
    """Record that a version was moved."""
    with open_store(words) as store:
        return _answer(store.relocate(words.uri, words.path, external=words.external), words)
