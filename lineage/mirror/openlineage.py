"""OpenLineage as a mirror: run events with the versions that were read and written.

A run that starts is START, each version RUNNING, its end COMPLETE, FAIL or ABORT. The official
client sends them to wherever it is configured to: ``OPENLINEAGE_URL``, ``OPENLINEAGE_CONFIG``,
openlineage.yml. An event that is sent twice is the same event, byte for byte.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from ..errors import MirrorUnready
from ..events import Deleted, Published, RunEnded, RunStarted
from ..index import queries
from ..model import RunStatus, VersionId
from ..source import SourceURI
from .base import Desk, Due, Mirror, Refused, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..commits import Entry
    from ..model import Input
    from ..registry import Lineage
    from .lease import Lease

__all__ = ["OpenLineageMirror"]

_PRODUCER = "urn:nemotron-lineage"
_NAMESPACE = "nemotron-lineage"
_ENDS = {RunStatus.OK: "COMPLETE", RunStatus.FAILED: "FAIL", RunStatus.ABORTED: "ABORT"}
_EDGE = ("role", "weight", "split", "tokens")
_SILENT = ("console", "noop")
_SURE = ("http", "file")  # transports that return once an event is there, and raise otherwise


class OpenLineageMirror(Mirror):
    """OpenLineage, fed from the journal.

    Args:
        environ: for ``OPENLINEAGE_NAMESPACE``, the namespace of jobs and versions. The client
            itself reads the variables of the process.
    """

    name = "openlineage"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.namespace = environ.get("OPENLINEAGE_NAMESPACE") or _NAMESPACE
        self._client: Any = None

    def concerns(self, entry: Entry, producer: Callable[[VersionId], str | None]) -> Iterable[Due]:
        """Say which subjects an event changes: each event is one of its own."""
        event = entry.event
        match event:
            case RunStarted() | RunEnded():
                yield Due(entry.id, event.run)
            case Published() if event.run:
                yield Due(entry.id, event.run)
            case Deleted() if isinstance(event.version, VersionId):
                yield Due(entry.id, event.run or producer(event.version) or "")
            case _:
                pass

    def covers(self, run: str, link: Mapping[str, Any] | None) -> bool:
        """Tell whether a run is mirrored: all are."""
        del link
        return bool(run)

    def check(self, link: Mapping[str, Any] | None) -> None:
        """Make sure that the client knows where to send to."""
        del link
        self.client()

    @contextmanager
    def opening(
        self, run: str, link: Mapping[str, Any] | None, store: Lineage, lease: Lease
    ) -> Iterator[Desk]:
        """Open the desk of a run."""
        del run, link, lease
        yield _Desk(self, store)

    def client(self) -> Any:
        """Return the official client.

        Raises:
            MirrorUnready: it is not installed, nothing says where to send to, or the transport
                does not say whether an event arrived.
        """
        if self._client is None:
            try:
                from openlineage.client import OpenLineageClient
            except ImportError as error:
                advice = "Try: pip install 'nemotron-lineage[openlineage]'"
                raise MirrorUnready(f"openlineage-python is not installed. {advice}") from error
            try:
                client = OpenLineageClient()
                kind = client.transport.kind
                is_sure = _is_sure(client.transport)
            except (
                ImportError, AttributeError, LookupError, OSError, RuntimeError, TypeError,
                ValueError,
            ) as error:  # fmt: skip
                raise MirrorUnready(
                    f"the settings of the OpenLineage client do not work ({error}); look at "
                    "OPENLINEAGE_URL and openlineage.yml"
                ) from error
            if kind in _SILENT:
                raise MirrorUnready(
                    "nothing says where OpenLineage events go; set OPENLINEAGE_URL, or name a "
                    "transport in openlineage.yml"
                )
            if not is_sure:
                raise MirrorUnready(
                    f"the OpenLineage transport {kind} does not say whether an event arrived; use "
                    "http or file, or composite of them with continue_on_failure: false"
                )
            self._client = client
        return self._client


def _is_sure(transport: Any) -> bool:
    """Tell whether a transport raises when an event has not arrived everywhere."""
    if transport.kind == "composite":
        config = transport.config
        is_strict = config.continue_on_success and not config.continue_on_failure
        return is_strict and all(_is_sure(each) for each in transport.transports)
    return transport.kind in _SURE


class _Desk(Desk):
    """The events of one run."""

    def __init__(self, mirror: OpenLineageMirror, store: Lineage) -> None:
        self._mirror, self._store = mirror, store

    def deliver(self, due: Due) -> Mapping[str, Mapping[str, Any]]:
        """Send one event."""
        number, position = due.place
        (commit,) = self._store.journal.read(number - 1, number)
        entry = commit.entries[position]
        event = entry.event
        match event:
            case RunStarted():
                if self._is_first(event.run, due):
                    self._send(self._run_event(event.run, "START", entry.occurred))
            case Published():
                inputs = self._store.inputs(event.version.uri)
                made = self._run_event(
                    event.run or "", "RUNNING", entry.occurred, inputs, [event.version]
                )
                self._send(made)
            case RunEnded():
                self._send(self._end(event, entry.occurred))
            case Deleted():
                self._send(self._dropped(event.id, entry.occurred))
            case _:
                pass
        return {due.subject: {}}

    def _is_first(self, run: str, due: Due) -> bool:
        """Tell whether a start is the first of its run; other ranks may tell of it too."""
        with self._store.reading() as db:
            return queries.first_start(db, run) == due.place

    def _end(self, event: RunEnded, occurred: str) -> Any:
        outputs = [each.id for each in self._store.find(run=event.run, state=None)]
        used: dict[tuple[object, str], Input] = {}
        for version in outputs:
            for each in self._store.inputs(version.uri):
                used.setdefault((each.target, each.role), each)
        with self._store.reading() as db:
            for each in queries.uses_of(db, event.run):
                used.setdefault((each.target, each.role), each)
        kind = _ENDS[RunStatus(event.status)]
        return self._run_event(
            event.run, kind, occurred, list(used.values()), sorted(outputs), error=event.error
        )

    # ------------------------------------------------------------------------- shapes

    def _run_event(
        self, run: str, kind: str, occurred: str, inputs: Iterable[Input] = (),
        outputs: Iterable[VersionId] = (), *, error: str | None = None,
    ) -> Any:  # fmt: skip
        from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
        from openlineage.client.facet_v2 import error_message_run, job_type_job, parent_run

        info = self._store.run_info(run)
        parent = info.detail.get("parent")
        facets: dict[str, Any] = {}
        if parent:
            facets["parent"] = parent_run.ParentRunFacet(
                run=parent_run.Run(runId=self._id(parent)),
                job=parent_run.Job(self._mirror.namespace, self._name(parent)),
                producer=_PRODUCER,
            )
        if error:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                message=error, programmingLanguage="python", producer=_PRODUCER
            )
        kinds = job_type_job.JobTypeJobFacet(
            processingType="BATCH", integration="NEMOTRON-LINEAGE",
            jobType=(info.job_type or "run").upper(), producer=_PRODUCER,
        )  # fmt: skip
        return RunEvent(
            eventTime=occurred, eventType=RunState[kind], producer=_PRODUCER,
            run=Run(self._id(run), facets),
            job=Job(self._mirror.namespace, info.name, {"jobType": kinds}),
            inputs=[self._input(each) for each in inputs],
            outputs=[self._output(each) for each in outputs],
        )  # fmt: skip

    def _id(self, run: str) -> str:
        """OpenLineage wants a UUID: the same one for the same run, whoever sends.

        A run that goes on in a copy of the store is the run that began in the store.
        """
        with self._store.reading() as db:
            number, _ = queries.first_start(db, run) or (0, 0)
        owner = self._store.journal.holders(number)[0]
        return str(uuid5(NAMESPACE_URL, f"lineage:{owner}/{run}"))

    def _name(self, run: str) -> str:
        from ..errors import ArtifactNotFoundError

        try:
            return self._store.run_info(run).name
        except ArtifactNotFoundError:
            return run

    def _input(self, used: Input) -> Any:
        from openlineage.client.event_v2 import InputDataset
        from openlineage.client.generated.base import InputDatasetFacet

        namespace, name, facets = self._dataset(used.target, used.revision)
        told = {key: getattr(used, key) for key in _EDGE if getattr(used, key) is not None}
        edge = InputDatasetFacet(producer=_PRODUCER).with_additional_properties(**told)
        return InputDataset(namespace, name, facets=facets, inputFacets={"lineage_use": edge})

    def _output(self, version: VersionId) -> Any:
        from openlineage.client.event_v2 import OutputDataset

        namespace, name, facets = self._dataset(version)
        return OutputDataset(namespace, name, facets=facets)

    def _dropped(self, version: VersionId, occurred: str) -> Any:
        from openlineage.client.event_v2 import DatasetEvent, StaticDataset
        from openlineage.client.facet_v2 import lifecycle_state_change_dataset as lifecycle

        namespace, name, facets = self._dataset(version)
        change = lifecycle.LifecycleStateChangeDatasetFacet(
            lifecycleStateChange=lifecycle.LifecycleStateChange.DROP, producer=_PRODUCER
        )
        dataset = StaticDataset(namespace, name, facets={**facets, "lifecycleStateChange": change})
        return DatasetEvent(eventTime=occurred, dataset=dataset, producer=_PRODUCER)

    def _dataset(
        self, target: object, revision: str | None = None
    ) -> tuple[str, str, dict[str, Any]]:
        """Return namespace, name and facets of a version or source."""
        from openlineage.client.facet_v2 import dataset_version_dataset, datasource_dataset

        facets: dict[str, Any] = {}
        if isinstance(target, VersionId):
            place = self._store.version(target.uri).location
            uri = place.path if place.is_address else SourceURI.local(place.path).uri
            namespace, name = self._mirror.namespace, target.name
            revision = f"v{target.number}"
        else:
            uri = target.uri if isinstance(target, SourceURI) else str(target)
            parts = urlsplit(uri)
            namespace = f"{parts.scheme}://{parts.netloc}" if parts.netloc else parts.scheme
            name = parts.path.lstrip("/") or parts.netloc
        facets["dataSource"] = datasource_dataset.DatasourceDatasetFacet(
            name=namespace, uri=uri, producer=_PRODUCER
        )
        if revision is not None:
            facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(
                datasetVersion=revision, producer=_PRODUCER
            )
        return namespace, name, facets

    def _send(self, event: Any) -> None:
        client = self._mirror.client()
        try:
            client.emit(event)
        except (OSError, RuntimeError, ValueError) as error:  # those of requests are OSErrors
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status is not None and 400 <= status < 500 and status not in (408, 425, 429):
                raise Refused(f"OpenLineage: {error}") from error
            raise Retry(f"OpenLineage: {error}") from error
