"""A reference to an artifact, ``art://name[?variant][:selector][@digest][#path]``, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from . import grammar
from .errors import URIError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ArtifactURI"]


@dataclass(frozen=True, slots=True)
class ArtifactURI:
    """One parsed reference; two references that mean the same are equal.

    Without a selector it means the latest version. ``version`` and ``alias`` are both None then.

    Attributes:
        name: segments joined by ``/``, case kept, at most 128 characters.
        pairs: the variant as sorted (key, value) pairs; part of the identity.
        version: a version number, 0 to 2**63 - 1.
        alias: a movable name of a version.
        digest: ``blake3:`` or ``sha256:`` and 8 to 64 hex digits; checks what was selected.
        path: a file or folder inside the artifact.

    The grammar is decided case by case in ``tests/data/uri-suite.json``.

    >>> uri = ArtifactURI.parse("data?split=train&sample=100:7#part-0.jsonl")
    >>> str(uri)
    'art://data?sample=100&split=train:v7#part-0.jsonl'
    >>> uri.version, uri.identity, dict(uri.variant)["sample"]
    (7, 'data?sample=100&split=train', '100')
    >>> ArtifactURI.parse("m") == ArtifactURI.parse("art://m:latest")
    True
    """

    name: str
    pairs: tuple[tuple[str, str], ...] = ()
    version: int | None = None
    alias: str | None = None
    digest: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        """Refuse fields that no text could have given, by parsing their canonical text."""
        parts = (self.name, self.pairs, self.version, self.alias, self.digest, self.path)
        text = grammar.canonical(parts)
        if self.version is not None and self.alias is not None:
            raise URIError(text, 0, "selector", "a reference has a version or an alias, not both")
        if _parse(text) != parts:
            raise URIError(text, 0, "name", "the fields do not spell the reference they make")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference, with or without ``art://``.

        Raises:
            URIError: the text breaks the grammar; the error names the position and the rule.
        """
        return cls._of(_parse(text))

    @classmethod
    def _of(cls, parts: grammar.Parts) -> Self:
        """Build from parts that the parser has just checked, without checking them again."""
        self = object.__new__(cls)
        for field, value in zip(cls.__slots__, parts, strict=True):
            object.__setattr__(self, field, value)
        return self

    @classmethod
    def pinned(cls, identity: str, version: int) -> ArtifactURI:
        """Build the reference to a version from an identity that is known to be one."""
        name, _, variant = identity.partition("?")
        pairs = tuple(tuple(pair.split("=", 1)) for pair in variant.split("&")) if variant else ()
        return cls._of((name, pairs, version, None, None, None))  # type: ignore[arg-type]  # pairs

    @classmethod
    def of(cls, reference: str | ArtifactURI) -> ArtifactURI:
        """Take a reference as text or as a value."""
        return reference if isinstance(reference, ArtifactURI) else cls.parse(reference)

    @staticmethod
    def detect(text: str) -> bool:
        """Tell whether free text is a reference: only what begins with ``art://`` is."""
        return text.startswith(grammar.SCHEME)

    @property
    def identity(self) -> str:
        """What names the artifact itself: the name with its variant."""
        return grammar.identity(self.name, self.pairs)

    @property
    def variant(self) -> Mapping[str, str]:
        """The variant as a read-only mapping."""
        return MappingProxyType(dict(self.pairs))

    @property
    def selector(self) -> str:
        """``v7``, an alias, or ``latest``."""
        return f"v{self.version}" if self.version is not None else self.alias or grammar.LATEST

    @property
    def is_pinned(self) -> bool:
        """Whether this reference can only ever mean one version."""
        return self.version is not None

    def pin(self, version: int) -> ArtifactURI:
        """Return the same reference with the version number in place of the selector."""
        return replace(self, version=version, alias=None)

    def __str__(self) -> str:
        """Return the canonical form: variant sorted, selector always written."""
        return grammar.canonical(
            (self.name, self.pairs, self.version, self.alias, self.digest, self.path)
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Let pydantic models hold this type: text in, value inside, text in JSON."""
        from pydantic_core import core_schema  # only pydantic calls this

        return core_schema.no_info_plain_validator_function(
            cls._validated, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def _validated(cls, value: object) -> ArtifactURI:
        if isinstance(value, (str, ArtifactURI)):
            return cls.of(value)
        sentence = f"a reference is text such as 'art://sft-model:v7', not {type(value).__name__}"
        raise ValueError(sentence)  # pydantic makes nothing of a TypeError

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> Any:
        """Describe the text form in JSON schemas."""
        return {"type": "string", "format": "uri", "examples": ["art://sft-model:v7"]}


def _parse(text: str) -> grammar.Parts:
    try:
        return grammar.parse(text)
    except grammar.Broken as broken:
        raise URIError(*broken.args) from None
