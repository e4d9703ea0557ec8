"""An outside asset as a value: normalised, without credentials, its revision kept apart."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from .errors import URIError

__all__ = ["SourceURI"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Signed links carry their key in the query; the asset is the same without it.
_SIGNING = re.compile(
    r"(?i)^(x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|signature|sig|expires|token|"
    r"access_token|key-pair-id|policy|se|sp|sv|sr|st|spr|skoid|sktid|skt|ske|sks|skv)$"
)


@dataclass(frozen=True, slots=True)
class SourceURI:
    """Where an outside asset lies, e.g. ``hf://org/name``; equal texts mean the same asset.

    Attributes:
        uri: the normalised address, without credentials, signature or revision.
        revision: branch, tag, commit or object version, as it was given.

    >>> SourceURI.parse("HF://org/raw-text@main")
    SourceURI(uri='hf://org/raw-text', revision='main')
    >>> SourceURI.parse("https://Example.org:443/a/../b.txt?sig=xyz").uri
    'https://example.org/b.txt'
    """

    uri: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> Self:
        """Read ``scheme://...`` or a local path.

        A local path becomes ``file://`` and loses its links: one such as ``latest`` would name
        another asset tomorrow. Revisions are read from
        ``hf://org/name@revision``, ``git+https://...@revision`` and ``s3://...?versionId=...``.

        Raises:
            URIError: not an address, or one that holds a user name or password: a record must
                never hold credentials, so name the asset without them.
        """
        if isinstance(text, os.PathLike):
            return cls.local(os.path.realpath(text))
        match = _SCHEME.match(text)
        if match is None:
            if text.startswith(("/", "./", "../", "~/")):
                return cls.local(os.path.realpath(os.path.expanduser(text)))
            raise URIError(text, 0, "scheme", "a source is scheme://... or a path")
        scheme = match[1].lower()
        if scheme == "art":
            raise URIError(text, 0, "scheme", "art:// is an artifact, not a source")
        rest = text[match.end() :]
        if not rest or any(ord(char) < 33 or ord(char) == 127 for char in rest):
            raise URIError(
                text, match.end(), "charset", "an address has no spaces and is not empty"
            )
        if scheme == "file":
            return cls.local(os.path.realpath("/" + unquote(rest.partition("/")[2])))
        if scheme == "hf":
            return cls._hugging_face(text, rest)
        return cls._url(text, scheme)

    @classmethod
    def local(cls, path: str) -> Self:
        """Name an absolute path as it stands, without looking at it (it may be on another host)."""
        return cls("file://" + quote(path, safe="/+=,@~-._"))

    @property
    def file(self) -> str:
        """The path of a ``file://`` source."""
        return unquote(self.uri.removeprefix("file://"))

    @staticmethod
    def accepts(text: str) -> bool:
        """Tell whether a text is a source rather than an artifact reference."""
        if text.startswith(("/", "./", "../", "~/")):
            return True
        match = _SCHEME.match(text)
        return match is not None and match[1] != "art"

    @classmethod
    def _hugging_face(cls, text: str, rest: str) -> Self:
        """``hf://[datasets/|models/|spaces/]org/name[@revision][/path]``."""
        kinds = ("datasets", "models", "spaces")
        before, at, after = rest.partition("@")
        revision, _, inside = after.partition("/")
        segments = [part for part in before.split("/") if part]
        if not segments or (segments == [segments[0]] and segments[0] in kinds):
            raise URIError(text, 5, "name", "a Hugging Face source is hf://org/name")
        if at and not revision:
            raise URIError(text, len(text), "name", "the revision after @ is empty")
        path = "/".join([*segments, *(part for part in inside.split("/") if part)])
        # refs/pr/1 and branches with a slash are written with %2F, as huggingface_hub does
        return cls(f"hf://{path}", revision.replace("%2F", "/") or None)

    @classmethod
    def _url(cls, text: str, scheme: str) -> Self:
        try:
            parts = urlsplit(scheme + text[len(scheme) :])
            port = parts.port
        except ValueError as error:
            raise URIError(text, 0, "scheme", f"it is no valid address ({error})") from None
        if parts.username is not None or parts.password is not None:
            rule = "it holds a user name or password; name the source without them"
            # the text itself is left out: it would put the password into a log
            raise URIError(f"{scheme}://...@{parts.hostname}", 0, "credentials", rule)
        # a bucket or a foreign host keeps its case, and its path is a key: dots mean nothing there
        web = scheme.removeprefix("git+") in _DEFAULT_PORTS
        host = parts.hostname if web else parts.netloc.partition(":")[0]
        if not host:
            raise URIError(text, len(scheme) + 3, "name", "the host or bucket is missing")
        if port is not None and _DEFAULT_PORTS.get(scheme) != port:
            host += f":{port}"
        path, revision = (_without_dots(parts.path) if web else parts.path), None
        if scheme.startswith("git+") and "@" in path:
            path, _, revision = path.rpartition("@")
        query = []
        for key, value in parse_qsl(parts.query, keep_blank_values=True):
            if key in ("versionId", "generation"):
                revision = value
            elif not _SIGNING.match(key):
                query.append((key, value))
        path = quote(path, safe="/%:@!$&'()*+,;=~-._").rstrip("/")
        return cls(urlunsplit((scheme, host, path, urlencode(sorted(query)), "")), revision)

    def __str__(self) -> str:
        """Return the address with its revision, in the form that ``parse`` reads back."""
        if self.revision is None:
            return self.uri
        if self.uri.startswith("hf://"):
            segments = self.uri.removeprefix("hf://").split("/")
            cut = 3 if segments[0] in ("datasets", "models", "spaces") else 2
            head, tail = segments[:cut], segments[cut:]
            pinned = f"hf://{'/'.join(head)}@{self.revision.replace('/', '%2F')}"
            return "/".join([pinned, *tail])
        if self.uri.startswith("git+"):
            return f"{self.uri}@{self.revision}"
        key = "generation" if self.uri.startswith("gs://") else "versionId"
        return f"{self.uri}{'&' if '?' in self.uri else '?'}{key}={quote(self.revision, safe='')}"


def _without_dots(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    return "/".join(kept)
