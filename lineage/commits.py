"""A commit: one numbered, hash-chained journal entry, and the JSON text that holds it.

::

    {"format": 1, "journal": ..., "number": 7, "previous": <hash of 6>, "recorded": <time>,
     "writers": {<writer>: [<last sequence taken>, <bytes of its intake taken>]},
     "events": [{"id", "kind", "form", "critical", "occurred", "digest"}, ...],
     "payloads": [{"salt", "payload"} or {"kept"}, ...],
     "hash": ...}

The hash covers everything but the payloads; each payload is bound by its salted digest in the
header. So a payload can be blanked (``{"kept": ...}``: what stays of it) and the chain still
proves the rest, while nobody can find the blanked text by guessing, because its salt is gone too.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import StoreDamaged, StoreTooNew
from .events import Event, Unknown, from_payload
from .metadata import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["GENESIS", "Commit", "Entry", "Front", "Head", "Mark", "Sealing"]

FORMAT = 1


class Head(NamedTuple):
    """Where a journal stands: number, hash and time of its last commit."""

    number: int
    hash: str
    recorded: str


GENESIS = Head(0, "", "")


class Mark(NamedTuple):
    """How far a writer's records were taken: last sequence, and bytes of its intake file."""

    sequence: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One event with its envelope.

    Attributes:
        id: ``<writer>-<sequence>``, or ``<writer>-<sequence>.<k>`` for what follows from it.
        occurred: when the writer saw it, by its own clock.
    """

    id: str
    occurred: str
    event: Event

    @property
    def writer(self) -> str:
        """Id of the writer."""
        return self.id.partition("-")[0]

    @property
    def sequence(self) -> int:
        """Place among the writer's records, from 1."""
        return int(self.id.partition("-")[2].partition(".")[0])

    @property
    def is_record(self) -> bool:
        """Whether this is the record itself rather than what follows from it."""
        return "." not in self.id

    def follow(self, event: Event, k: int) -> Entry:
        """Make the entry of an event that follows from this one."""
        return Entry(f"{self.id}.{k}", self.occurred, event)


@dataclass(frozen=True, slots=True)
class Sealing:
    """What binds a payload to its header: its digest, and the salt unless it was blanked."""

    digest: str
    salt: str | None


class Front(NamedTuple):
    """What the hash of a commit covers, as far as it tells what the commit is about.

    Attributes:
        kinds: (kind, form) of each event.
    """

    previous: str
    hash: str
    writers: Mapping[str, Mark]
    kinds: tuple[tuple[str, int], ...]

    @classmethod
    def read(cls, text: str, *, number: int) -> Front:
        """Read and verify all of a commit but its payloads, at a third of the cost.

        Raises:
            StoreDamaged, StoreTooNew: as ``Commit.read``.
        """
        front, _, rest = text.partition(',"payloads":[')  # no quote stands bare inside of a string
        chain = hashlib.sha256(f"{front}}}".encode("ascii", "replace")).hexdigest()
        if not rest.endswith(f'],"hash":"{chain}"}}'):
            commit = Commit.read(text, number=number)  # says what is wrong, or reads another order
            kinds = tuple((entry.event.kind, entry.event.form) for entry in commit.entries)
            return cls(commit.previous, commit.hash, commit.writers, kinds)
        body = json.loads(f"{front}}}")
        if body["format"] != FORMAT or body["number"] != number:
            raise _damaged(number, f"its text says number {body['number']}")
        writers = {writer: Mark(*mark) for writer, mark in body["writers"].items()}
        kinds = tuple((header["kind"], header["form"]) for header in body["events"])
        return cls(body["previous"], chain, writers, kinds)


@dataclass(frozen=True, slots=True)
class Commit:
    """One journal entry. Build with ``make`` or ``read``; both give a text that verifies."""

    journal: str
    number: int
    previous: str
    recorded: str
    writers: Mapping[str, Mark]
    entries: tuple[Entry, ...]
    sealings: tuple[Sealing, ...]
    hash: str
    text: str

    @property
    def head(self) -> Head:
        """The head of a journal that ends here."""
        return Head(self.number, self.hash, self.recorded)

    @classmethod
    def make(
        cls,
        journal: str,
        head: Head,
        entries: Iterable[Entry],
        *,
        writers: Mapping[str, Mark],
        recorded: str,
    ) -> Commit:
        """Build the commit that follows ``head``. Its time never runs backwards."""
        entries = tuple(entries)
        recorded = max(recorded, head.recorded)
        headers, payloads, sealings = [], [], []
        # one read of the kernel's randomness for all salts of the commit
        salts = os.urandom(16 * len(entries)).hex()
        for at, entry in enumerate(entries):
            salt, body = salts[32 * at : 32 * at + 32], canonical_json(entry.event.payload())
            sealing = Sealing(_digest(salt, body), salt)
            headers.append(_header(entry, sealing))
            payloads.append(f'{{"payload":{body},"salt":"{salt}"}}')
            sealings.append(sealing)
        front = canonical_json({
            "events": headers, "format": FORMAT, "journal": journal, "number": head.number + 1,
            "previous": head.hash, "recorded": recorded, "writers": writers,
        })  # fmt: skip
        chain = hashlib.sha256(front.encode("ascii")).hexdigest()
        text = f'{front[:-1]},"payloads":[{",".join(payloads)}],"hash":"{chain}"}}'
        return cls(
            journal, head.number + 1, head.hash, recorded, dict(writers), entries,
            tuple(sealings), chain, text,
        )  # fmt: skip

    @classmethod
    def read(cls, text: str, *, number: int) -> Commit:
        """Read and verify the text of commit ``number``.

        Raises:
            StoreDamaged: the text is no commit, another number, or does not verify.
            StoreTooNew: it has a format that this release does not know.
        """
        try:
            body = json.loads(text)
            known = body["format"] == FORMAT
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise _damaged(number, f"its text cannot be read ({error})") from None
        if not known:
            message = f"commit {number} has format {body['format']}, newer than this release"
            raise StoreTooNew(f"{message}; upgrade nemotron-lineage to read it")
        try:
            return cls._verified(body, text, number)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise _damaged(number, f"a field is missing or malformed ({error!r})") from None

    @classmethod
    def _verified(cls, body: dict[str, Any], text: str, number: int) -> Commit:
        payloads, chain = body.pop("payloads"), body.pop("hash")
        front = canonical_json(body).encode("ascii")
        if hashlib.sha256(front).hexdigest() != chain:
            raise _damaged(number, "its hash does not verify")
        if body["number"] != number:
            raise _damaged(number, f"its text says number {body['number']}")
        entries, sealings = [], []
        for header, sealed in zip(body["events"], payloads, strict=True):
            salt = sealed.get("salt")
            if salt is None:
                payload = sealed["kept"]
            else:
                payload = sealed["payload"]
                if _digest(salt, canonical_json(payload)) != header["digest"]:
                    raise _damaged(number, f"the payload of event {header['id']} does not verify")
            event = from_payload(
                header["kind"], payload, form=header["form"], critical=header["critical"]
            )
            entries.append(Entry(header["id"], header["occurred"], event))
            sealings.append(Sealing(header["digest"], salt))
        return cls(
            body["journal"], number, body["previous"], body["recorded"],
            {writer: Mark(*mark) for writer, mark in body["writers"].items()},
            tuple(entries), tuple(sealings), chain, text,
        )  # fmt: skip

    def is_blank(self, at: int) -> bool:
        """Tell whether the payload of entry ``at`` was blanked."""
        return self.sealings[at].salt is None

    def blank(self, event: str, kept: Mapping[str, Any]) -> Commit:
        """Return this commit with one payload blanked; number and hash stay."""
        body = json.loads(self.text)
        for at, entry in enumerate(self.entries):
            if entry.id == event:
                body["payloads"][at] = {"kept": dict(kept)}
        payloads, chain = body.pop("payloads"), body.pop("hash")
        front = canonical_json(body)
        text = f'{front[:-1]},"payloads":{canonical_json(payloads)},"hash":"{chain}"}}'
        return Commit.read(text, number=self.number)


def _header(entry: Entry, sealing: Sealing) -> dict[str, Any]:
    event = entry.event
    kind, critical = event.kind, event.critical
    if isinstance(event, Unknown):
        kind, critical = event.name, event.vital
    return {
        "critical": critical, "digest": sealing.digest, "form": event.form, "id": entry.id,
        "kind": kind, "occurred": entry.occurred,
    }  # fmt: skip


def _digest(salt: str, body: str) -> str:
    return hashlib.sha256(f"{salt}{body}".encode("ascii")).hexdigest()


def _damaged(number: int, what: str) -> StoreDamaged:
    message = f"commit {number} is damaged: {what}. Try: lineage fsck"
    return StoreDamaged(message, commit=number)
