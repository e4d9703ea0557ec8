"""The one gate before the journal: removes secrets by name and by look, spares the field's words.

Everything free that a record carries (argv, config, metadata, source addresses, exception texts)
passes a ``Redactor``. It goes by whole words of a name, so that ``tokenizer``, ``total_tokens``,
``eos_token`` and ``num_key_value_heads`` stay, by value patterns (W&B, Hugging Face, AWS, JWT,
private keys, credentials in addresses), and by the secrets that the environment itself holds.
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, overload

__all__ = ["REDACTED", "Redactor"]

REDACTED = "[redacted]"

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ALWAYS = {
    "apikey", "auth", "authorization", "credential", "jwt", "passphrase", "passwd", "password",
    "pwd", "secret",
}  # fmt: skip
_KEYS = {
    "access", "account", "api", "auth", "encryption", "hf", "master", "ngc", "openai", "private",
    "secret", "service", "signing", "ssh", "storage", "wandb",
}  # fmt: skip
# What stands before "token" when it means a piece of text; everything else is a credential.
_TEXT_TOKENS = {
    "answer", "audio", "bos", "chat", "cls", "decoder", "document", "end", "eod", "eos", "eot",
    "first", "forced", "image", "last", "mask", "mode", "new", "next", "pad", "padding", "per",
    "prompt", "separator", "sep", "special", "start", "stop", "think", "unk", "unknown", "video",
    "word",
}  # fmt: skip
# "secret_name", "credentials_file": they say where a secret is, and hold none
_POINTERS = {"dir", "env", "file", "id", "name", "path", "provider", "type"}
_SHELL = {"PWD", "OLDPWD"}  # the shell's folders; "pwd" in a config is a password
_HASHES = {
    "branch", "checksum", "commit", "digest", "git", "hash", "head", "md5", "oid", "ref", "rev",
    "revision", "sha", "sha1", "sha256", "snapshot", "tag",
}  # fmt: skip

_PATTERNS = [
    re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
    ),
    re.compile(r"\b(?:wandb_v\d+_|local-)[\w-]{20,}"),
    re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}"),
    re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,}"),
    re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,})"),
    re.compile(r"\b(?:sk-[\w-]{20,}|nvapi-[\w-]{20,}|xox[abpr]-[\w-]{10,}|AIza[\w-]{35})"),
    re.compile(r"(?i)(?<=\bbearer )[\w.~+/=-]{8,}|(?<=\bbasic )[\w+/=]{12,}"),
]
_URL_LOGIN = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")
# 40 hex digits are a W&B key or a git commit; a commit stands behind its word, "/" or "@"
_FORTY_HEX = re.compile(
    r"(?i)(?<![0-9a-z/@])(?<!sha1:)(?<!commit )(?<!commit=)(?<!revision )(?<!revision=)"
    r"[0-9a-f]{40}(?![0-9a-z])"
)
# From the left end of a word on, and never back into it: else a text without spaces, such as
# base64 for addresses, takes the square of its length.
_NAMED = re.compile(
    r"""(?<![\w.-])(?:(?![A-Za-z_])[\w.-])*+([A-Za-z_][\w.-]*+)["']?\s*+(?:=|:(?!//))\s*+["']?"""
)
_VALUE = re.compile(r"""[^\s"',;&)\]}]+""")
_SIGNATURES = {"sig", "signature", "x-amz-signature", "x-amz-credential", "x-amz-security-token"}
_HARMLESS = frozenset({int, float, bool, type(None)})
_RANDOM_LENGTH = 16
_RANDOM_BITS = 3.0
_KNOWN_LENGTH = 8
_REMEMBERED = 500  # characters; what was found in shorter texts is remembered
_WORD_LENGTH = 16  # a word below is no key of any provider


class Redactor:
    """Takes secrets out of text and of JSON values.

    Args:
        environment: variables whose secret values are removed wherever they turn up, also in
            base64. Pass ``os.environ``; nothing of it is kept but the secrets themselves.

    >>> redactor = Redactor({"WANDB_API_KEY": "0123456789abcdef"})
    >>> redactor.value({"tokenizer": "gpt2", "eos_token": "</s>", "hf_token": "x"})
    {'tokenizer': 'gpt2', 'eos_token': '</s>', 'hf_token': '[redacted]'}
    >>> redactor.text("connect to https://me:pw@host failed with 0123456789abcdef")
    'connect to https://[redacted]@host failed with [redacted]'
    >>> redactor.argv(["train.py", "--api-key", "abc", "--lr=1e-4"])
    ['train.py', '--api-key', '[redacted]', '--lr=1e-4']
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        known: set[str] = set()
        for name, value in (environment or {}).items():
            if len(value) >= _KNOWN_LENGTH and _strength(name) == "strong":
                known.add(value)
                encoded = base64.b64encode(value.encode("utf-8", "surrogateescape"))
                known.add(encoded.decode("ascii").rstrip("="))
        longest_first = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if known else None

    def text(self, text: str) -> str:
        """Return free text without secrets."""
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        if len(text) < _KNOWN_LENGTH or (len(text) < _WORD_LENGTH and text.isidentifier()):
            return text
        return _by_look(text) if len(text) < _REMEMBERED else _hide_by_look(text)

    @overload
    def value(self, value: dict[str, Any], name: str = "") -> dict[str, Any]: ...
    @overload
    def value(self, value: Any, name: str = "") -> Any: ...  # any JSON value
    def value(self, value: Any, name: str = "") -> Any:
        """Return a JSON value without secrets; ``name`` is the key it stands under."""
        strength = _strength(name)
        if strength is None and type(value) in _HARMLESS:
            return value
        if isinstance(value, (dict, Mapping)):
            return {self._key(key): self.value(item, str(key)) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item, name) for item in value]
        if strength == "strong" and value not in (None, "") and not isinstance(value, bool):
            return REDACTED
        if not isinstance(value, str):
            return value
        if strength == "weak" and _looks_random(value):
            return REDACTED
        if len(value) == 40 and _HASHES & set(_words(name)):
            return value
        return self.text(value)

    def _key(self, key: Any) -> Any:
        """Return a name without secrets; a number of a schedule is none and stays as it is."""
        return self.text(key) if isinstance(key, str) else key

    def argv(self, argv: Sequence[str]) -> list[str]:
        """Return a command line without secrets, also when flag and value are two words."""
        result: list[str] = []
        flag = ""
        for word in argv:
            if flag and not word.startswith("-"):
                result.append(str(self.value(word, flag)))
            else:
                result.append(self.text(word))
            flag = word.lstrip("-") if word.startswith("-") and "=" not in word else ""
        return result


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


@lru_cache(maxsize=4096)  # the same few keys come with every checkpoint
def _strength(name: str) -> str | None:
    """Say whether a name always means a secret (strong), may mean one (weak), or neither."""
    words = _words(name)
    if not words or words[-1] in _POINTERS or name in _SHELL:
        return None
    if name.lower() in _SIGNATURES or _ALWAYS.intersection(words):
        return "strong"
    if any(word.endswith("password") for word in words):  # PGPASSWORD
        return "strong"
    before = words[-2] if len(words) > 1 else ""
    if words[-1] == "token":
        return None if before in _TEXT_TOKENS else "strong"
    if words[-1] == "key":
        return "strong" if before in _KEYS else "weak"
    if words[-1] in ("secrets", "credentials", "keys"):
        return "weak"
    return None


def _looks_random(value: str) -> bool:
    if len(value) < _RANDOM_LENGTH or re.search(r"\s", value):
        return False
    if not (re.search(r"\d", value) and re.search(r"[A-Za-z]", value)):
        return False
    total = len(value)
    bits = -sum(n / total * math.log2(n / total) for n in Counter(value).values())
    return bits >= _RANDOM_BITS


def _hide_by_look(text: str) -> str:
    """Remove what looks like a secret, or stands under the name of one."""
    for pattern in _PATTERNS:
        text = pattern.sub(REDACTED, text)
    text = _URL_LOGIN.sub(REDACTED, text)
    return _FORTY_HEX.sub(REDACTED, _hide_assigned(text))


# every save of a run says nearly the same, and training waits for it
_by_look = lru_cache(maxsize=2048)(_hide_by_look)


def _hide_assigned(text: str) -> str:
    """Remove what follows ``name=`` or ``name:`` of a secret; names may follow each other."""
    parts, done = [], 0
    for named in _NAMED.finditer(text):
        strength = _strength(named[1])
        if strength is None or named.start(1) < done:
            continue
        value = _VALUE.match(text, named.end())
        if value is None or text.startswith(REDACTED, value.start()):
            continue
        if strength == "strong" or _looks_random(value[0]):
            parts += [text[done : value.start()], REDACTED]
            done = value.end()
    return "".join([*parts, text[done:]])
