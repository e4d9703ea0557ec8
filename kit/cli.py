"""The kit's part of the command line: ``lineage env``, and what the doctor says about jobs."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from nemotron.lineage import Check, Command, LineageError, settings_folders

from .cli_run import run, run_words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from nemotron.lineage import Commands

    from .config.masking import Path
    from .config.profiles import Profile
    from .config.reading import Settings

__all__ = ["register"]


def register(commands: Commands) -> None:
    """Add the commands and the checks."""
    commands.add(
        Command("env", "show what env.toml says, and how a profile takes effect", _words, env),
        Command("run", "run a command where a profile says", run_words, run),
    )
    commands.add_check(
        Check("env.toml", check),
        Check("frameworks", check_frameworks),
        Check("logins", check_logins),
        Check("W&B", check_wandb),
    )


def _words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("profile", nargs="?", metavar="PROFILE", help="the profile to show")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="what wins over the profile"
    )
    parser.add_argument("--file", metavar="PATH", help="read this file instead")
    parser.add_argument("--json", action="store_true", help="print JSON")


def env(words: argparse.Namespace) -> int:
    """Show which env.toml is read, and an effective profile; secrets are masked."""
    from .config.masking import word  # not for --help
    from .config.profiles import resolve
    from .config.reading import read
    from .config.remarks import Place

    settings = read(words.file)
    facts = _facts(settings)
    if words.profile is not None:
        key, is_override, _ = words.profile.partition("=")
        if is_override:
            raise Place(path=(key,)).error(
                "is set for no profile", f"say: lineage env PROFILE {word(key)}=VALUE"
            )
        profile = resolve(settings, words.profile, words.overrides)
        facts["remarks"] += map(str, profile.remarks)
        facts["profile"] = {"name": word(profile.name), "values": list(_values(profile))}
    if words.json:
        _say(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        _show(facts)
    return 0


def check(words: argparse.Namespace) -> Iterator[tuple[bool, str]]:
    """Look whether env.toml and all its profiles make sense."""
    del words
    from .config.masking import word  # not for --help
    from .config.profiles import resolve
    from .config.reading import read

    try:
        settings = read()
    except LineageError as error:
        yield False, str(error)
        return
    facts = _facts(settings)
    yield True, facts["file"] or f"none in {', '.join(facts['searched'])}"
    yield True, f"W&B: {_wandb(facts)}"
    if settings is None:
        return
    yield True, f"sections: {', '.join(facts['sections']) or 'none'}"
    for remark in facts["remarks"]:
        yield False, remark
    parents = {name for table in settings.profiles.values() for name in _parents(table)}
    for name in settings.profiles:
        try:
            profile = resolve(settings, name)
        except LineageError as error:
            # what it lacks may come with those that extend it; these are looked at too
            is_base = name in parents
            yield is_base, f"[{word(name)}] is a base for others" if is_base else str(error)
        else:
            yield True, f"[{word(name)}] runs on {profile.config.executor}"
            yield from ((False, str(remark)) for remark in profile.remarks)


def check_frameworks(words: argparse.Namespace) -> Iterator[tuple[bool, str]]:
    """Say of every patch whether it fits what is installed; no framework is imported."""
    del words
    from .patches.patch import State  # not for --help
    from .training import look_at_all

    for status in look_at_all():
        fits = status.state.is_live or status.state is State.ABSENT or status.patch.is_optional
        yield fits, f"{status} ({status.patch.why})"


def check_logins(words: argparse.Namespace) -> Iterator[tuple[bool, str]]:
    """Tell where the W&B key and the Hugging Face token come from, without showing them."""
    del words
    from .config.reading import read, wandb_state  # not for --help
    from .credentials import explain_hf, explain_wandb, find_wandb_key

    try:
        settings = read()
    except LineageError:  # the other check tells of it
        settings = None
    is_wanted = wandb_state(settings) == "enabled"
    section = settings.wandb if settings is not None and settings.wandb is not None else {}
    is_online = section.get("mode", "online") == "online"
    missing = is_wanted and is_online and find_wandb_key() is None
    missing = missing and not os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    for name, rows in (("W&B", explain_wandb()), ("Hugging Face", explain_hf())):
        for place, found in rows[:-1]:
            yield True, f"{name}: {place}: {found}"
        yield not (missing and name == "W&B"), f"{name}: {rows[-1][1]}"


def check_wandb(words: argparse.Namespace) -> Iterator[tuple[bool, str]]:
    """Look for what keeps runs from reaching W&B; a server is asked with ``--online`` alone."""
    from .wandb_checks import look_at_wandb  # not for --help

    yield from look_at_wandb(online=getattr(words, "online", False))


def _parents(table: dict[str, Any]) -> list[Any]:
    extends = table.get("extends", [])
    return extends if isinstance(extends, list) else [extends]


def _facts(settings: Settings | None) -> dict[str, Any]:
    from .config.masking import shown, word  # not for --help
    from .config.reading import wandb_state

    wandb = {"state": wandb_state(settings)}
    if settings is None:
        searched = list(settings_folders(os.curdir))
        return {
            "file": None, "searched": searched, "sections": [], "wandb": wandb, "remarks": [],
        }  # fmt: skip
    return {
        "file": str(settings.path),
        "sections": list(map(word, settings.sections)),
        "wandb": {**wandb, **shown(settings.wandb or {})},
        "remarks": [str(remark) for remark in settings.remarks],
    }


def _values(profile: Profile) -> Iterator[dict[str, Any]]:
    """Yield each value of an effective profile with where it came from."""
    from .config.masking import shown  # not for --help
    from .config.runconfig import KEYS

    for spec in fields(profile.config):
        value = getattr(profile.config, spec.name)
        is_set = any(path[0] == spec.name for path in profile.origins)
        key = KEYS.get(spec.name)
        if is_set or (key is not None and key.serves(profile.config.executor)):
            yield from _leaves((spec.name,), shown(value, spec.name), profile)


def _leaves(path: Path, value: Any, profile: Profile) -> Iterator[dict[str, Any]]:
    from .config.layers import OVERRIDE  # not for --help
    from .config.masking import dotted, word

    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves((*path, key), item, profile)
    elif value is not None:
        origin = profile.origins.get(path)
        said = {None: "default", OVERRIDE: "override", profile.name: "profile"}
        come = said.get(origin, f"parent {word(origin)}")
        yield {"key": dotted(path), "value": value, "from": come}


def _show(facts: dict[str, Any]) -> None:
    searched = ", ".join(facts.get("searched", ()))
    _say(f"file      {facts['file'] or f'none in {searched}'}")
    _say(f"sections  {', '.join(facts['sections']) or 'none'}")
    _say(f"wandb     {_wandb(facts)}")
    for remark in facts["remarks"]:
        _say(f"look      {remark}")
    if "profile" not in facts:
        return
    rows = [("KEY", "FROM", facts["profile"]["name"])]
    rows += [(row["key"], row["from"], _text(row["value"])) for row in facts["profile"]["values"]]
    widths = [max(len(row[at]) for row in rows) for at in (0, 1)]
    _say()
    for key, come, value in rows:
        _say(f"{key:{widths[0]}}  {come:{widths[1]}}  {value}")


def _wandb(facts: dict[str, Any]) -> str:
    told = (f"{key} {_text(value)}" for key, value in facts["wandb"].items() if key != "state")
    return ", ".join((facts["wandb"]["state"], *told))


def _text(value: object) -> str:
    if isinstance(value, str) and value.isprintable() and value == value.strip() != "":
        return value
    return json.dumps(value, ensure_ascii=False)


def _say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
