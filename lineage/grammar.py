"""How an ``art://`` reference is cut into its parts: a hand-written parser that imports nothing.

The grammar is ``[art://]name[?variant][:selector][@digest][#path]``. The bare form, without
``art://``, is the same and is accepted only where a reference is expected. The text is cut at the
first ``#``, then the first ``@``, then the first ``:``, then the first ``?``. Checks run in a fixed
order and the first failure wins; every case is in ``tests/data/uri-suite.json``.

``lineage resolve`` stands on this module alone, which is why it imports no regular expressions.
"""

SCHEME = "art://"
LATEST = "latest"
MAX_TEXT = 512
MAX_NAME = 128
MAX_VERSION = 2**63 - 1

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_DIGITS = frozenset("0123456789")
_ALNUM = _LOWER | _DIGITS | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_WORD = _ALNUM | frozenset("._-")
_KEY = _LOWER | _DIGITS | frozenset("_")
_PATH = _WORD | frozenset("+=,@~")
_HEX = frozenset("0123456789abcdef")
_SCHEME = _ALNUM | frozenset("+.-")
_DIGEST_LENGTHS = range(8, 65)

# (name, variant pairs, version, alias, digest, path); version and alias are both None for latest
Parts = tuple[str, tuple[tuple[str, str], ...], int | None, str | None, str | None, str | None]


class Broken(Exception):
    """A text that breaks the grammar: (text, position, category, rule)."""


def parse(text: str) -> Parts:
    """Cut a reference into (name, variant, version, alias, digest, path) or raise Broken.

    A URI error of the public API carries the same four facts; see ``nemotron.lineage.uri``.
    """
    _check_text(text)
    start = _check_scheme(text)
    body, _, path = _cut(text, "#", start)
    body, digest_at, digest = _cut(body, "@", start)
    body, selector_at, selector = _cut(body, ":", start)
    name, variant_at, variant = _cut(body, "?", start)

    _check_name(text, name[start:], start)
    pairs = _check_variant(text, variant, variant_at + 1) if variant is not None else ()
    version, alias = (
        _check_selector(text, selector, selector_at + 1) if selector is not None else (None, None)
    )
    if digest is not None:
        digest = _check_digest(text, digest, digest_at + 1)
    if path is not None:
        check_path(text, path, len(text) - len(path))
    parts = (name[start:], pairs, version, alias, digest, path)
    if len(canonical(parts)) > MAX_TEXT:
        raise Broken(text, len(text), "length", f"its canonical form is over {MAX_TEXT} characters")
    return parts


def canonical(parts: Parts) -> str:
    """Write parts in the one form that equal references share."""
    name, variant, version, alias, digest, path = parts
    selector = alias if version is None else f"v{version}"
    text = f"{SCHEME}{identity(name, variant)}:{selector or LATEST}"
    if digest is not None:
        text += "@" + digest
    if path is not None:
        text += "#" + path
    return text


def identity(name: str, variant: tuple[tuple[str, str], ...]) -> str:
    """Write what names the artifact itself: the name with its variant, without a selector."""
    if not variant:
        return name
    return name + "?" + "&".join(f"{key}={value}" for key, value in variant)


def alias_fault(alias: str) -> str | None:
    """Say why a text cannot be set as an alias, or None when it can."""
    if alias == LATEST:
        return "latest is computed and cannot be set"
    if not alias or alias[0] not in _ALNUM or not _WORD.issuperset(alias):
        return "an alias is letters, digits, '.', '_' and '-', and begins with a letter or digit"
    if _version_digits(alias) is not None:
        return "it reads as a version number"
    if len(alias) > MAX_NAME:
        return f"an alias has at most {MAX_NAME} characters"
    return None


def _cut(text: str, mark: str, start: int) -> tuple[str, int, str | None]:
    at = text.find(mark, start)
    return (text, len(text), None) if at < 0 else (text[:at], at, text[at + 1 :])


def _check_text(text: str) -> None:
    if not text:
        raise Broken(text, 0, "empty", "the text is empty")
    if len(text) > MAX_TEXT:
        raise Broken(text, MAX_TEXT, "length", f"it is over {MAX_TEXT} characters")
    for at, char in enumerate(text):
        if not "!" <= char <= "~":
            raise Broken(text, at, "charset", "only visible ASCII characters are allowed")


def _check_scheme(text: str) -> int:
    if text.startswith(SCHEME):
        return len(SCHEME)
    scheme, mark, _ = text.partition("://")
    if mark and scheme and _SCHEME.issuperset(scheme):
        raise Broken(text, 0, "scheme", f"an artifact begins with {SCHEME}, in lower case")
    if text.startswith("art:"):
        raise Broken(text, 4, "scheme", "art: is followed by //")
    return 0


def _check_name(text: str, name: str, start: int) -> None:
    at = start
    for segment in name.split("/"):
        if not segment:
            raise Broken(text, at, "name", "a segment of the name is empty")
        if segment[0] not in _ALNUM:
            raise Broken(text, at, "name", "a segment begins with a letter or digit")
        for offset, char in enumerate(segment):
            if char not in _WORD:
                raise Broken(
                    text, at + offset, "name", "a name is letters, digits, '.', '_', '-' and '/'"
                )
        at += len(segment) + 1
    if len(name) > MAX_NAME:
        raise Broken(text, start + MAX_NAME, "length", f"the name is over {MAX_NAME} characters")


def _check_variant(text: str, variant: str, start: int) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    at = start
    for pair in variant.split("&"):
        key, _, value = pair.partition("=")
        if not key or key[0] not in _LOWER or not _KEY.issuperset(key):
            raise Broken(text, at, "variant", "a variant is key=value, its key in lower case")
        if not value or not _WORD.issuperset(value):
            rule = "a value is letters, digits, '.', '_' and '-'; a file inside is written #file"
            raise Broken(text, at + len(key), "variant", rule)
        if key in pairs:
            raise Broken(text, at, "variant", f"the key {key} stands twice")
        pairs[key] = value
        at += len(pair) + 1
    return tuple(sorted(pairs.items()))


def _version_digits(selector: str) -> str | None:
    digits = selector.removeprefix("v")
    return digits if digits and _DIGITS.issuperset(digits) else None


def _check_selector(text: str, selector: str, start: int) -> tuple[int | None, str | None]:
    digits = _version_digits(selector)
    if digits is not None:
        if len(digits) > 1 and digits[0] == "0":
            raise Broken(text, start, "version", "a version has no leading zeros")
        # compare by length first: int() of a very long text is refused by Python itself
        if len(digits) > len(str(MAX_VERSION)) or int(digits) > MAX_VERSION:
            raise Broken(text, start, "version", "a version is at most 2^63-1")
        return int(digits), None
    if not selector or selector[0] not in _ALNUM or not _WORD.issuperset(selector):
        bad = next((i for i, c in enumerate(selector) if c not in _WORD), 0)
        rule = "a selector is a version (v7) or an alias of letters, digits, '.', '_' and '-'"
        raise Broken(text, start + bad, "selector", rule)
    if len(selector) > MAX_NAME:
        raise Broken(text, start + MAX_NAME, "length", f"the alias is over {MAX_NAME} characters")
    return None, None if selector == LATEST else selector


def _check_digest(text: str, digest: str, start: int) -> str:
    algorithm, mark, value = digest.partition(":")
    if algorithm not in ("blake3", "sha256") or not mark:
        raise Broken(text, start, "digest", "a digest is blake3: or sha256: and hex digits")
    value = value.lower()
    if len(value) not in _DIGEST_LENGTHS or not _HEX.issuperset(value):
        at = start + len(algorithm) + 1
        raise Broken(text, at, "digest", "a digest has 8 to 64 hex digits")
    return f"{algorithm}:{value}"


def check_path(text: str, path: str, start: int) -> None:
    """Check a path inside an artifact; raise Broken with the position in the text."""
    at = start
    for segment in path.split("/"):
        if segment in ("", ".", ".."):
            raise Broken(text, at, "path", "a segment of the path is empty, . or ..")
        for offset, char in enumerate(segment):
            if char not in _PATH:
                rule = "a path is letters, digits and ._+=,@~-"
                raise Broken(text, at + offset, "path", rule)
        at += len(segment) + 1
