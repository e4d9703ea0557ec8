"""Random histories: a store must answer like one on the memory journal, the model of truth."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from .. import audit
from ..errors import ArtifactGone, ArtifactNotFoundError, Conflict, PublishRefused
from ..events import (
    AliasMoved,
    Deleted,
    Described,
    Event,
    Found,
    Missing,
    Published,
    Relocated,
    RunEnded,
    RunStarted,
    Sealed,
    Used,
)
from ..journal.memory import MemoryJournal
from ..model import Input, Location, VersionId
from ..registry import Lineage
from ..source import SourceURI
from .clock import SetClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..clock import Clock
    from ..journal.base import Journal

    Opener = Callable[[Path, Clock], Journal]

__all__ = ["store_machine"]

NAMES = st.sampled_from(["model", "data", "data?sample=100"])
PATHS = st.sampled_from(["/out/1", "/out/2", "/out/3"])
RUNS = st.sampled_from(["run-a", "run-b"])
CONTENTS = st.sampled_from(["x", "y", None])
NUMBERS = st.integers(min_value=1, max_value=5)
ALIASES = st.sampled_from(["best", "prod"])
OUTCOMES = (PublishRefused, Conflict, ArtifactNotFoundError, ArtifactGone)


def store_machine(open_journal: Opener, *, examples: int = 30) -> type:
    """Return a test class that compares a journal with the model of truth.

    Args:
        open_journal: opens the journal at a place with a clock; at the same place again, the same
            journal.
        examples: how many random histories.
    """

    class Machine(_StoreMachine):
        opener = staticmethod(open_journal)

    case: type = Machine.TestCase
    case.settings = settings(  # type: ignore[attr-defined]  # hypothesis' own way
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return case


class _StoreMachine(RuleBasedStateMachine):
    opener: Opener

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="lineage-states-")
        self._clocks = (SetClock(), SetClock())
        self._model = Lineage(MemoryJournal(clock=self._clocks[0]), clock=self._clocks[0])
        self._subject = self._open()
        self._writers: list[Any] = []
        self._abandoned: list[Lineage] = []

    def _open(self) -> Lineage:
        clock = self._clocks[1]
        return Lineage(type(self).opener(Path(self._folder.name), clock), clock=clock)

    @initialize()
    def start(self) -> None:
        self._writers = [s.journal.intakes.writer({}) for s in (self._model, self._subject)]

    # ------------------------------------------------------------------- rules

    @rule(name=NAMES, path=PATHS, run=RUNS, content=CONTENTS, alias=st.none() | ALIASES)
    def publish(
        self, name: str, path: str, run: str, content: str | None, alias: str | None
    ) -> None:
        self._both(self._published(name, path, run, content, alias))

    @rule(name=NAMES, path=PATHS, run=RUNS, content=CONTENTS, alias=st.none() | ALIASES)
    def record(
        self, name: str, path: str, run: str, content: str | None, alias: str | None
    ) -> None:
        self._append(self._published(name, path, run, content, alias))

    @rule(name=NAMES, path=PATHS, run=RUNS, key=st.sampled_from(["k1", "k2"]))
    def publish_once(self, name: str, path: str, run: str, key: str) -> None:
        kind = name.partition("?")[0]
        event = Published(name=name, type=kind, location=Location(path), run=run, key=key)
        self._both(event)

    @rule(name=NAMES, path=PATHS)
    def publish_with_another_type(self, name: str, path: str) -> None:
        self._both(Published(name=name, type="other", location=Location(path), run="run-a"))

    @rule(run=RUNS, name=NAMES, number=NUMBERS)
    def use(self, run: str, name: str, number: int) -> None:
        version = VersionId(name, number)
        with self._model.journal.peek() as ledger:
            known = ledger.state(version) is not None
        target = version if known else SourceURI("hf://org/data")
        self._both(Used(run=run, input=Input(target=target)))

    @rule(run=RUNS, path=PATHS)
    def record_use_of_a_place(self, run: str, path: str) -> None:
        self._append(Used(run=run, input=Input(target=Location(path), role="init")))

    @rule(path=PATHS)
    def record_deletion_of_a_place(self, path: str) -> None:
        self._append(Deleted(version=Location(path), seen=True))

    @rule(name=NAMES, number=NUMBERS, alias=ALIASES, expect=st.sampled_from([-1, None, 1, 2]))
    def move_alias(self, name: str, number: int, alias: str, expect: int | None) -> None:
        self._both(AliasMoved(name=name, alias=alias, to=number), expect=expect)

    @rule(name=NAMES, alias=ALIASES)
    def remove_alias(self, name: str, alias: str) -> None:
        self._both(AliasMoved(name=name, alias=alias, to=None))

    @rule(
        name=NAMES,
        number=NUMBERS,
        what=st.sampled_from(["deleted", "missing", "found", "sealed", "described", "relocated"]),
    )
    def happen(self, name: str, number: int, what: str) -> None:
        version = VersionId(name, number)
        events: dict[str, Event] = {
            "deleted": Deleted(version=version, reason="old"),
            "missing": Missing(version=version),
            "found": Found(version=version),
            "sealed": Sealed(version=version, digest="blake3:" + "ab" * 32),
            "described": Described(version=version, metadata={"loss": number}),
            "relocated": Relocated(version=version, location=Location(f"/moved/{number}")),
        }
        self._both(events[what])

    @rule(run=RUNS, status=st.sampled_from(["ok", "failed", "aborted"]))
    def begin_and_end_run(self, run: str, status: str) -> None:
        self._both(RunStarted(run=run, name=run))
        self._both(RunEnded(run=run, status=status))

    @rule()
    def combine(self) -> None:
        assert self._model.combine() == self._subject.combine()

    @rule(minutes=st.integers(min_value=-10, max_value=10))
    def the_clock_jumps(self, minutes: int) -> None:
        for clock in self._clocks:
            clock.move(minutes=minutes)

    @rule()
    def the_process_dies(self) -> None:
        """Open the store anew without closing it: what was acknowledged is still there."""
        if self._subject.journal.kind != "memory":
            abandoned, self._subject = self._subject, self._open()
            self._writers[1] = self._subject.journal.intakes.writer({})
            # the model's writer ends too, so that both count alike
            self._writers[0] = self._model.journal.intakes.writer({})
            self._abandoned.append(abandoned)

    @rule(name=NAMES, number=NUMBERS)
    def redact(self, name: str, number: int) -> None:
        done: list[object] = []
        for store in (self._model, self._subject):
            try:
                done.append(audit.redact(store, str(VersionId(name, number)), "secret"))
            except OUTCOMES as error:
                done.append(type(error))
        assert done[0] == done[1]

    # -------------------------------------------------------------- comparisons

    @invariant()
    def answers_are_the_same(self) -> None:
        assert _answers(self._model) == _answers(self._subject)

    def teardown(self) -> None:
        try:
            for store in (self._model, self._subject, *self._abandoned):
                report = audit.fsck(store)
                assert report.is_clean, report.damage
        finally:
            for store in (self._model, self._subject, *self._abandoned):
                store.close()
            self._folder.cleanup()

    # ------------------------------------------------------------------ helpers

    @staticmethod
    def _published(
        name: str, path: str, run: str, content: str | None, alias: str | None
    ) -> Published:
        return Published(
            name=name,
            type=name.partition("?")[0],
            location=Location(path),
            run=run,
            fingerprint=content,
            metadata={"path": path},
            aliases=(alias,) if alias else (),
        )

    def _both(self, event: Event, *, expect: int | None = -1) -> None:
        outcomes: list[object] = []
        for store in (self._model, self._subject):
            try:
                outcomes.append(store.commit(event, expect=expect).version)
            except OUTCOMES as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1]

    def _append(self, event: Event) -> None:
        for writer in self._writers:
            writer.append(event)


def _answers(store: Lineage) -> dict[str, Any]:
    """Return all that can be asked, without ids and times."""
    versions = {}
    for artifact in store.artifacts():
        for version in store.log(artifact.name):
            versions[str(version.uri)] = (
                version.address,
                version.state,
                version.aliases,
                dict(version.metadata),
                version.digest,
                version.late,
                version.run,
                [(str(i.target), i.role) for i in store.inputs(version)],
            )
    latest = {artifact.name: (artifact.latest, artifact.type) for artifact in store.artifacts()}
    graph = store.lineage()
    lineage = {
        uri: ([str(n) for n in graph.ancestors(uri)], [str(n) for n in graph.descendants(uri)])
        for uri in versions
    }
    runs = {run.id: (run.name, run.status) for run in store.runs()}
    return {"versions": versions, "latest": latest, "lineage": lineage, "runs": runs}
