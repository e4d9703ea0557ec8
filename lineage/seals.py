"""Reads the bytes of a version: once to seal it, and later to see that they are still the same."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from .digests import digest_listing, fingerprint
from .errors import (
    ContentChanged,
    LineageError,
    PathNotFoundError,
    StoreError,
    StoreReadOnly,
)
from .events import Sealed
from .index import queries
from .listing import Listing
from .model import State, Version, VersionId
from .pace import Pace
from .remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .digests import Digest
    from .registry import Lineage
    from .uri import ArtifactURI

    Progress = Callable[[int, int], object]
    Reference = str | ArtifactURI | Version

__all__ = ["Verdict", "Verification", "seal", "seal_all", "verify"]


class Verdict(StrEnum):
    """What a look at a version's bytes came to."""

    UNCHANGED = "unchanged"  # every byte is as it was sealed
    UNVERIFIED = "unverified"  # nothing differs, but the bytes could not be compared
    CHANGED = "changed"
    MISSING = "missing"
    GONE = "gone"  # deleted or replaced, as the journal knows
    UNSEEN = "unseen"  # this host does not see them


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Whether a version is still there and unchanged.

    Attributes:
        version: the version, as the journal knows it after the look.
        verdict: what came out.
        sentence: the same in words, with what to do next.
        expected: the recorded digest or fingerprint that was compared with, or None.
        found: the digest or fingerprint of what lies there now, or None.
    """

    version: Version
    verdict: Verdict
    sentence: str
    expected: str | None = None
    found: str | None = None

    @property
    def is_unchanged(self) -> bool:
        """Whether every byte was compared and is as it was sealed."""
        return self.verdict is Verdict.UNCHANGED


def seal(
    store: Lineage,
    reference: Reference,
    *,
    rate: float | None = None,
    progress: Progress | None = None,
) -> Version:
    """Do what ``Lineage.seal`` promises."""
    version = store.version(store.resolve(reference).id.uri)
    if version.digest is not None:
        return version
    if store.journal.read_only:
        raise StoreReadOnly(f"{store.journal.address} is read-only here; ask its owner to seal it")
    there = store.is_there(version)
    if there is None:
        raise PathNotFoundError(version.address, _unseen(version))
    if not there:
        message = f"{version.uri} is not at {version.address} any more"
        raise PathNotFoundError(version.address, f"{message}. Try: lineage verify {version.uri}")
    with Remembered(store.journal.cache) as memory:
        listing, found = _read(version, rate=rate, progress=progress, memory=memory)
    _check_heirs(store, version, listing, found)
    event = Sealed(version=version.id, digest=found.text, size=found.size, files=found.files)
    store.commit(event)
    return store.version(version.uri)


def seal_all(
    store: Lineage,
    *,
    rate: float | None = None,
    progress: Callable[[Version], Progress | None] = lambda _: None,
) -> Iterator[tuple[Version, LineageError | OSError | None]]:
    """Seal all versions whose bytes this host sees, the newest first, also those that come in.

    Args:
        store: an open store.
        rate: bytes a second at the most, or None.
        progress: gives for each version what is to be called with (bytes done, bytes in all).

    Yields:
        Each version, and why it could not be sealed, or None.

    Raises:
        StoreError: the store cannot be used now.
    """
    tried: set[VersionId] = set()
    while True:
        with store.reading() as db:
            waiting = queries.unsealed(db, socket.gethostname())
        name = next((each for each in waiting if each not in tried), None)
        if name is None:
            return
        tried.add(name)
        version = store.version(name.uri)
        if store.is_there(version) is None:
            continue
        try:
            yield seal(store, version, rate=rate, progress=progress(version)), None
        except StoreError:
            raise
        except (LineageError, OSError) as error:
            yield version, error


def verify(store: Lineage, reference: Reference, progress: Progress | None = None) -> Verification:
    """Do what ``Lineage.verify`` promises."""
    look = store.version if store.journal.read_only else store.look
    version = look(reference)
    if version.state in (State.DELETED, State.REPLACED):
        sentence = f"{version.uri} was {version.state}. Try: lineage show {version.uri}"
        return Verification(version=version, verdict=Verdict.GONE, sentence=sentence)
    there = store.is_there(version)
    if there is None:
        verdict, sentence = Verdict.UNSEEN, _unseen(version)
        return Verification(version=version, verdict=verdict, sentence=sentence)
    if not there:
        sentence = (
            f"{version.uri} is not at {version.address} any more; if it was moved: "
            f"lineage relocate {version.uri} PATH"
        )
        return Verification(version=version, verdict=Verdict.MISSING, sentence=sentence)
    try:
        return _compare(version, progress)
    except ContentChanged as error:
        return Verification(version=version, verdict=Verdict.CHANGED, sentence=str(error))


def _compare(version: Version, progress: Progress | None) -> Verification:
    """Compare what lies at a version's place with what was recorded of it."""
    expected, said = version.digest, str(version.uri)
    if expected is None:
        found = _check_fingerprint(version)
        what = "its fingerprint alone could be compared" if found else "nothing is known to compare"
        return Verification(
            version=version, verdict=Verdict.UNVERIFIED, expected=version.fingerprint, found=found,
            sentence=f"{said} has unverified bytes: it is not sealed, {what}. "
            f"Try: lineage seal {said}",
        )  # fmt: skip
    algorithm = expected.partition(":")[0]
    _, digest = _read(version, progress=progress, algorithm=algorithm)
    if digest.text == expected:
        verdict = Verdict.UNCHANGED
        sentence = f"{said} is unchanged: {digest.size} bytes in {_files(digest)} as {expected}"
    else:
        verdict = Verdict.CHANGED
        sentence = f"{said} changed: {version.address} has {digest.text}, not {expected}"
    return Verification(
        version=version, verdict=verdict, sentence=sentence, expected=expected, found=digest.text
    )


# ----------------------------------------------------------------- reading the bytes


def _read(
    version: Version,
    *,
    rate: float | None = None,
    progress: Progress | None = None,
    memory: Remembered | None = None,
    algorithm: str = "blake3",
) -> tuple[Listing, Digest]:
    """Read all that lies at a version's place.

    Raises:
        ContentChanged: that is not what was published, or somebody wrote to it meanwhile.
    """
    try:
        listing = Listing.of(version.address)
        listing.settle()
        _check_fingerprint(version)
        pace = Pace(listing.size, rate=rate, progress=progress)
        found = digest_listing(listing, pace, memory=memory, algorithm=algorithm)
        same = Listing.of(version.address) == listing
    except FileNotFoundError as error:
        message = f"{version.uri}: files vanished from {version.address} while it was read"
        raise ContentChanged(version.address, message) from error
    if not same:
        message = f"{version.uri}: files came or went in {version.address} while it was read"
        raise ContentChanged(version.address, f"{message}; try again afterwards")
    return listing, found


def _check_fingerprint(version: Version) -> str | None:
    """Return the fingerprint of what lies there, None when there is none to compare with."""
    if version.fingerprint is None:
        return None
    found = fingerprint(version.address)
    if found != version.fingerprint:
        raise ContentChanged(
            version.address,
            f"{version.uri} changed: what lies at {version.address} is not what was published "
            "(names, sizes or small files differ). If it was published again, see: "
            f"lineage log {version.name}",
        )
    return found


def _check_heirs(store: Lineage, version: Version, listing: Listing, found: Digest) -> None:
    """Make sure that what was read is not another save with an equal fingerprint."""
    with store.journal.peek() as ledger:
        others = [each.version.uri for each in ledger.beside(version.id)]
    for other in map(store.version, others):
        if other.commit <= version.commit:
            continue
        differs = other.digest is not None and other.digest != found.text
        if differs or listing.written > version.occurred.timestamp() * 1e9:
            raise ContentChanged(
                version.address,
                f"{version.uri} cannot be told from {other.uri}, which was published at the same "
                f"place ({version.address}) and written to since; seal that one",
            )


def _unseen(version: Version) -> str:
    """Say why this host cannot know a version's bytes."""
    place, uri = version.location, version.uri
    if not place.path:
        return f"where {uri} lies was blanked; if you know it: lineage relocate {uri} PATH"
    if place.is_address:
        return f"{uri} lies at {place.path}, whose bytes cannot be read as files"
    if place.external:
        return (
            f"{uri} was published as external, so nobody says which hosts see {place.path}; if "
            f"this one does: lineage relocate {uri} {place.path}"
        )
    if place.host not in (None, socket.gethostname()):
        return f"{uri} lies on host {place.host} ({place.path}); look there"
    return f"{place.path} of {uri} cannot be seen from this host; see whether it is mounted"


def _files(digest: Digest) -> str:
    return "1 file" if digest.files == 1 else f"{digest.files} files"
