"""What a job's references mean, decided once for all its ranks and attempts.

Whoever is first resolves them and writes a page ``<job>.<n>.json`` beside the journal; the others
read the page and never open the journal. A job that asks for more later gets a further page.

The page is made exclusively, so one answer counts whatever happens. The claim beside it only
keeps the ranks from all asking the journal at once: a rank whose claim does not get on is
overtaken.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import re
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from .clock import SystemClock, read_time
from .errors import (
    LineageError,
    PinsFailed,
    StoreBusy,
    StoreError,
    StoreReadOnly,
    StoreUnreachable,
)
from .files import explain
from .journal.kinds import open_shelf
from .launch import Launch, Process, user
from .metadata import canonical_json
from .registry import open_store
from .settings import choose_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from .model import Version
    from .registry import Lineage
    from .shelf import Shelf

__all__ = ["Pinned", "pin_job"]

_log = logging.getLogger(__name__)

TIMEOUT = 600.0
_STUCK = 60.0  # seconds after which a claim that does not get on is overtaken
_PAUSES = (0.02, 0.5)  # seconds between looks, growing
_WHAT = "the pins of the job"
_OLD = 86400.0  # seconds after which the user should hear that pins are not of today


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a reference means for a job.

    Attributes:
        uri: the pinned reference, ``art://name:vN``.
        name: the artifact's identity.
        version: ``vN``.
        type: ``model``, ``dataset``, ...
        address: the path or address of its bytes.
        metadata: what is known of it.
        created_at: when it was published, ISO 8601.
        producer: id of the run that published it, or None.
    """

    uri: str
    name: str
    version: str
    type: str
    address: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: str | None = None
    producer: str | None = None

    @classmethod
    def of(cls, version: Version) -> Pinned:
        """Describe a version."""
        return cls(
            uri=str(version.uri), name=version.name, version=f"v{version.number}",
            type=version.type, address=version.address, metadata=dict(version.metadata),
            created_at=version.occurred.isoformat(), producer=version.run,
        )  # fmt: skip


def pin_job(
    references: Iterable[str],
    *,
    store: str | None = None,
    opener: Callable[[], Lineage] | None = None,
    environ: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> dict[str, Pinned]:
    """Resolve references so that all ranks and attempts of this job agree on what they mean.

    The job is the one of nemo-run, Slurm or torchrun, or ``LINEAGE_JOB``. A process of no job
    resolves for itself. A launcher may resolve beforehand and hand the page over in
    ``LINEAGE_PINS`` (a path, or the JSON itself); what it does not hold is resolved as otherwise.

    Args:
        references: ``art://name:alias`` or the bare form.
        store: address of the store; None as for ``open``.
        opener: opens it, when there is something to resolve.
        environ: the environment, by default that of the process.
        timeout: seconds to wait for the rank that resolves.

    Raises:
        URIError, ArtifactNotFoundError, ArtifactGone: as ``Lineage.resolve``.
        PinsFailed: another rank found one of these.
        StoreError: nobody resolved them in time, or another job goes by the same id.
    """
    environ = os.environ if environ is None else environ
    asked = list(dict.fromkeys(references))
    handed = _handed_over(environ["LINEAGE_PINS"]) if environ.get("LINEAGE_PINS") else {}
    missing = [each for each in asked if each not in handed]
    if missing:
        handed |= _pin(missing, store, opener, environ, timeout)
    return {each: handed[each] for each in asked}


def _pin(
    asked: list[str],
    store: str | None,
    opener: Callable[[], Lineage] | None,
    environ: Mapping[str, str],
    timeout: float,
) -> dict[str, Pinned]:
    """Resolve references that no launcher has resolved."""
    address = choose_store(store, environ)[0]

    @contextmanager
    def opened() -> Iterator[Lineage]:
        if opener is not None:
            yield opener()
        else:
            with open_store(address, create=False) as mine:
                yield mine

    launch = Launch.read(environ)
    shelf = open_shelf(address)
    if launch.job is None or shelf is None:
        with opened() as journal:
            return {each: Pinned.of(journal.resolve(each)) for each in asked}
    return _Book(shelf, launch, environ, opened, timeout).pins(asked)


class _Book:
    """The pages of one job."""

    def __init__(
        self,
        shelf: Shelf,
        launch: Launch,
        environ: Mapping[str, str],
        opened: Callable[[], AbstractContextManager[Lineage]],
        timeout: float,
    ) -> None:
        assert launch.job is not None  # checked by the caller
        self._job, self._launch, self._opened = launch.job, launch, opened
        # two clusters count alike; an id that was given on purpose is told apart by itself
        self._owner = (
            None
            if environ.get("LINEAGE_JOB")
            else {"user": user(), "cluster": environ.get("SLURM_CLUSTER_NAME")}
        )
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._shelf = shelf
        # readable, and still one file for each job whatever its id holds
        slug = re.sub(r"[^\w.-]+", "-", self._job)[:60]
        mark = hashlib.sha256(self._job.encode()).hexdigest()[:8]
        self._base = f"pins/{slug}-{mark}"
        attempt = hashlib.sha256(f"{launch.group}".encode()).hexdigest()[:8]
        self._failure = f"{self._base}.failed-{attempt}.json"

    def pins(self, asked: list[str]) -> dict[str, Pinned]:
        """Return the pins, from pages that are there or one that is made now."""
        known: dict[str, Pinned] = {}
        for number in count(1):
            missing = [each for each in asked if each not in known]
            if not missing:
                return {each: known[each] for each in asked}
            known |= self._page(number, missing)
        raise AssertionError  # count never ends

    def _page(self, number: int, missing: list[str]) -> dict[str, Pinned]:
        """Return the pins of a page; when there is none, make it or wait until it is made."""
        path = f"{self._base}.{number}.json"
        claim = f"{path}.claim"
        seen, since, pause = "", time.monotonic(), _PAUSES[0]
        while True:
            try:
                page = self._read(path)
                if page is not None:
                    return self._check(page, path)
                self._raise_failure(missing)
                holder = self._claim(claim)
            except (StoreBusy, StoreUnreachable):  # all ranks ask at once
                if time.monotonic() > self._deadline:
                    raise
                holder = seen
            if holder is None:
                return self._make(path, claim, number, missing)
            if holder != seen:
                seen, since = holder, time.monotonic()
            if _is_gone(holder) or time.monotonic() - since > _STUCK:
                self._shelf.put_over(claim, self._signature())
                return self._make(path, claim, number, missing)
            if time.monotonic() > self._deadline:
                raise StoreError(
                    f"no rank resolved the references of job {self._job} in {self._timeout:g} s "
                    f"({self._shelf.where(claim)} says who tries); look at its log, and start again"
                )
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the ranks
            pause = min(pause * 1.5, _PAUSES[1])

    def _check(self, page: Mapping[str, Any], path: str) -> dict[str, Pinned]:
        if page["owner"] != self._owner:
            raise StoreError(
                f"job {self._job} was pinned by {page['owner']}, this one is of {self._owner}: two "
                f"jobs with one id ({self._shelf.where(path)}); set LINEAGE_JOB to tell them apart"
            )
        age = time.time() - read_time(page["created"]).timestamp()
        level = logging.WARNING if age > _OLD else logging.INFO
        _log.log(level, "references of job %s as pinned at %s", self._job, page["created"])
        return {each: Pinned(**pin) for each, pin in page["pins"].items()}

    def _claim(self, claim: str) -> str | None:
        """Claim a page; return None when it is ours, else who has it."""
        try:
            self._shelf.put_new(claim, self._signature())
        except FileExistsError:
            try:
                return self._shelf.read(claim).decode()
            except FileNotFoundError:
                return ""  # it was made in between
        except OSError as error:
            problem = error if isinstance(error, StoreError) else explain(error, _WHAT)
            if isinstance(problem, StoreReadOnly) and self._launch.world == 1:
                return None  # nobody has to agree with us
            raise problem from error
        return None

    def _signature(self) -> bytes:
        return canonical_json(asdict(Process.current())).encode()

    def _make(self, path: str, claim: str, number: int, missing: list[str]) -> dict[str, Pinned]:
        try:
            try:
                pins = self._resolve(number, missing)
            except LineageError as error:
                self._tell(missing, error)
                raise
            page = {
                "format": 1, "job": self._job, "owner": self._owner,
                "created": SystemClock().now(),
                "pins": {each: asdict(pin) for each, pin in pins.items()},
            }  # fmt: skip
            try:
                self._shelf.put_new(path, canonical_json(page).encode())
            except FileExistsError:  # we were overtaken: their page counts
                made = self._read(path)
                assert made is not None  # just seen
                return self._check(made, path)
            except OSError as error:
                problem = error if isinstance(error, StoreError) else explain(error, _WHAT)
                if not isinstance(problem, StoreReadOnly) or self._launch.world > 1:
                    raise problem from error
            return pins
        finally:
            with suppress(OSError, StoreError):
                self._shelf.remove([claim])

    def _resolve(self, number: int, missing: list[str]) -> dict[str, Pinned]:
        with self._opened() as store:
            try:
                name = self._job if number == 1 else f"{self._job}#{number}"
                uris = store.pin(missing, job=name)
            except StoreReadOnly:
                if self._launch.world > 1:
                    raise
                uris = {each: each for each in missing}  # nobody has to agree with us
            return {each: Pinned.of(store.resolve(uri)) for each, uri in uris.items()}

    def _tell(self, missing: list[str], error: LineageError) -> None:
        """Leave word of a failure for the other ranks of this attempt."""
        if self._launch.world > 1:
            text = {"references": missing, "error": str(error)}
            self._shelf.put_over(self._failure, canonical_json(text).encode())

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return _page(self._shelf.read(name), self._shelf.where(name))
        except FileNotFoundError:
            return None

    def _raise_failure(self, missing: list[str]) -> None:
        if self._launch.world == 1:
            return
        failure = self._read(self._failure)
        if failure is not None and set(failure["references"]) & set(missing):
            raise PinsFailed(f"{failure['error']} (found by another rank of job {self._job})")


def _handed_over(text: str) -> dict[str, Pinned]:
    """Read the page that a launcher gave us."""
    if text.lstrip().startswith("{"):
        page = _page(text.encode(), "LINEAGE_PINS")
    else:
        try:
            with open(text, "rb") as file:
                page = _page(file.read(), text)
        except FileNotFoundError:
            message = f"LINEAGE_PINS names {text}, which is not there; unset or correct it"
            raise StoreError(message) from None
    return {each: Pinned(**pin) for each, pin in page["pins"].items()}


def _page(data: bytes, where: str) -> dict[str, Any]:
    try:
        page: dict[str, Any] = json.loads(data)
    except ValueError as error:
        message = f"{where} is damaged ({error}); remove it to have it made anew"
        raise StoreError(message) from None
    return page


def _is_gone(holder: str) -> bool:
    """Tell whether a process that signed a claim is known to have ended."""
    return bool(holder) and Process(**json.loads(holder)).is_gone() is True
