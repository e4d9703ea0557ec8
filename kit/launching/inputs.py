"""What a command is given: references in its words and in the YAML files that it names.

They are resolved once, at submission. In the words the pinned reference takes their place; those
of a file go to the job as its pins, by the text that stands in the file.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from nemotron.lineage import ArtifactNotFoundError, ArtifactURI, URIError

from ..resolvers import references_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nemotron.lineage import Pinned

__all__ = ["Inputs", "find_inputs", "pins_page"]

_ART_OPTION = re.compile(r"--art\.([\w.]+)(?:=(.*))?", re.DOTALL)
_RUN_KEY = re.compile(r"(?:--)?run\.([\w.]+)=(.*)", re.DOTALL)
_ASSIGNED = re.compile(r"([^=\s]*=)?(art://\S+)")
_VERSION = re.compile(r"v?\d+")
_YAML = (".yaml", ".yml")


@dataclass(slots=True)
class Inputs:
    """What a command was found to be given.

    Attributes:
        command: its words, with pinned references once ``pin`` was called.
        pins: what was resolved, by the text that was asked for.
        notices: what could not be looked at.
        words: the references in the command.
        more: the references of files.
    """

    command: list[str]
    pins: dict[str, Pinned] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    words: list[_Word] = field(default_factory=list)
    more: list[str] = field(default_factory=list)

    @property
    def references(self) -> list[str]:
        """The references that are certainly meant as such."""
        certain = [word.reference for word in self.words if word.is_certain]
        return list(dict.fromkeys([*certain, *self.more]))

    def pin(
        self, resolve: Callable[[list[str]], dict[str, Pinned]], exists: Callable[[str], object]
    ) -> None:
        """Resolve the references and write the pinned ones into the command.

        Args:
            resolve: returns what each reference means.
            exists: raises where there is no such version; asked about ``run.NAME=name:alias``,
                which may be no reference at all.
        """
        self.words = [each for each in self.words if each.is_certain or _is_known(each, exists)]
        asked = [*(word.reference for word in self.words), *self.more]
        if not asked:
            return
        self.pins = resolve(list(dict.fromkeys(asked)))
        for word in self.words:
            pinned = self.pins[word.reference]
            self.command[word.at] = word.before + pinned.uri
            self.pins.setdefault(pinned.uri, pinned)


@dataclass(frozen=True, slots=True)
class _Word:
    at: int
    before: str
    reference: str
    is_certain: bool = True


def find_inputs(command: Sequence[str], arts: Mapping[str, str] | None = None) -> Inputs:
    """Find the references of a command.

    Args:
        command: its words.
        arts: references by key, from ``--art.NAME``; each becomes a word ``run.NAME=...``.
    """
    words = [*command, *(f"run.{key}={text}" for key, text in (arts or {}).items())]
    inputs = Inputs(words)
    keys: dict[str, str] = {}  # of the configuration files
    for word in words:
        keys |= _file_references(word, inputs.notices)
    own = len(words) - len(arts or {})
    at = 0
    while at < len(words):
        option = _ART_OPTION.fullmatch(words[at])
        named = _RUN_KEY.fullmatch(words[at])
        plain = _ASSIGNED.fullmatch(words[at])
        if option and option[2] is None and at + 1 < len(words):
            at += 1
            inputs.words.append(_word(at, "", words[at], option[1], keys))
        elif option and option[2] is not None:
            before = f"--art.{option[1]}="
            inputs.words.append(_word(at, before, option[2], option[1], keys))
        elif plain:
            inputs.words.append(_Word(at, plain[1] or "", plain[2]))
            if named:
                keys.pop(named[1], None)
        elif named:
            before = words[at][: -len(named[2])] if named[2] else words[at]
            if at >= own:
                inputs.words.append(_word(at, before, named[2], named[1], keys))
            elif ":" in named[2] and not named[2].startswith(("{", "[", "$")):
                found = _Word(at, before, named[2], is_certain=False)
                inputs.words.append(found)
            keys.pop(named[1], None)
        at += 1
    inputs.more = [text for text in keys.values() if isinstance(text, str)]
    return inputs


def _word(at: int, before: str, text: str, key: str, keys: dict[str, str]) -> _Word:
    """Read what ``--art.KEY`` was given; a version alone is one of what the file names."""
    if _VERSION.fullmatch(text) or text == "latest":
        base = keys.pop(key, None)
        if base is None:
            raise URIError(text, 0, "name", f"--art.{key} needs the name too: no file has it")
        text = f"{ArtifactURI.parse(base).identity}:{text}"
    keys.pop(key, None)
    ArtifactURI.parse(text)
    return _Word(at, before, text)


def _file_references(word: str, notices: list[str]) -> dict[str, str]:
    """Return the references of a configuration file that a word names."""
    path = word.rpartition("=")[2]
    if not path.endswith(_YAML) or not os.path.isfile(path):
        return {}
    import yaml  # only where there is a configuration; OmegaConf brings it
    from omegaconf.errors import OmegaConfBaseException

    try:
        return references_of(path)
    except (OSError, ValueError, OmegaConfBaseException, yaml.YAMLError) as error:
        said = str(error).partition("\n")[0]
        notices.append(f"{path} is not looked into for references: {said}")
        return {}


def _is_known(word: _Word, exists: Callable[[str], object]) -> bool:
    try:
        exists(word.reference)
    except (ArtifactNotFoundError, URIError):
        return False
    return True


def pins_page(job: str, pins: Mapping[str, Pinned]) -> str:
    """Return the pins of a job as ``LINEAGE_PINS`` takes them, in one line of ASCII.

    nemo-run rewrites its folder in all scripts, and Ray expands variables; JSON may write a slash
    and a dollar in another way.
    """
    page: dict[str, Any] = {
        "format": 1, "job": job, "pins": {text: asdict(pin) for text, pin in pins.items()},
    }  # fmt: skip
    text = json.dumps(page, separators=(",", ":"))
    return text.replace("/nemo_run", "\\u002fnemo_run").replace("$", "\\u0024")
