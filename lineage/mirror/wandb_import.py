"""Brings artifacts of W&B into a store, with what they were made from and by which run.

A version keeps the number that it has in W&B, under its whole name ``entity/project/name``. What
this store itself delivered to W&B is recognised and stays what it is.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from ..errors import ArtifactNotFoundError, Conflict, URIError
from ..events import Receipt, RunEnded, RunStarted
from ..foreign.folders import Notes
from ..foreign.found import Found, time_of
from ..foreign.importing import ImportReport, bring_in
from ..grammar import LATEST
from ..index import queries
from ..model import Input, RunStatus, State, VersionId
from ..source import SourceURI
from ..uri import ArtifactURI
from .content import KEY
from .wandb_verify import VERIFIED, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..registry import Lineage
    from .wandb import Server
    from .wandb_remote import Remote, RemoteRun

__all__ = ["LIMIT", "WandbImport"]

LIMIT = 1 << 30  # bytes of one artifact that are read to verify it
_MIRROR = "wandb"
_BATCH = 50  # versions that are brought in at once
_INTERNAL = ("wandb-", "run_table", "job", "code")  # types that W&B makes for itself
_ENDS = {"finished": RunStatus.OK, "failed": RunStatus.FAILED, "crashed": RunStatus.FAILED,
         "killed": RunStatus.ABORTED}  # fmt: skip
_EDGE = ("role", "weight", "split", "tokens", "revision", "digest", "size")


class WandbImport:
    """One import under way.

    Args:
        store: where to.
        server: where from.
        limit: bytes of one artifact to read in order to verify it; 0 verifies nothing.
        called: the name to use in place of ``entity/project``.
    """

    def __init__(
        self, store: Lineage, server: Server, *, limit: int = LIMIT, called: str | None = None
    ) -> None:
        self._store, self._server = store, server
        self._limit, self._called = limit, called
        self._notes = Notes()
        self._runs: dict[str, str] = {}  # path of a W&B run -> id of the run here
        self._used: dict[str, list[Remote]] = {}
        self._producers: dict[str, RemoteRun | None] = {}

    # --------------------------------------------------------------------- whole projects

    def project(
        self, project: str, name: str | None = None, progress: Callable[[int, int], object] = print
    ) -> ImportReport:
        """Import all artifacts of ``entity/project``, or the one of a name.

        What is there already is left as it is, so a repeat adds what is new.

        Args:
            project: ``entity/project``.
            name: of one artifact.
            progress: called with (versions done, versions in all).

        Raises:
            Retry: the server does not answer; run it again later.
            ArtifactNotFoundError: there is no such artifact in W&B.
        """
        remotes: list[Remote] = []
        for kind, each in self._server.collections(project, name):
            if not kind.startswith(_INTERNAL):
                remotes += self._server.versions(kind, f"{project}/{each}")
        if not remotes:
            shown = f"{project}/{name}" if name else project
            raise ArtifactNotFoundError(shown, f"W&B has no artifact {shown}; look at its spelling")
        return self._take(remotes, progress)

    def one(self, remote: Remote, most: int) -> ImportReport:
        """Import a version and all that it came from, up to a number of versions."""
        todo, remotes = [remote], {remote.name: remote}
        while todo:
            for each in self._inputs_of(todo.pop(0)):
                if each.name not in remotes and len(remotes) < most:
                    remotes[each.name] = each
                    todo.append(each)
        return self._take(list(remotes.values()), lambda _, __: None)

    def _take(
        self, remotes: Sequence[Remote], progress: Callable[[int, int], object]
    ) -> ImportReport:
        """Bring versions in, oldest first, so that an import that is cut off keeps what it did."""
        reports: list[ImportReport] = []
        ordered = sorted(remotes, key=lambda each: (each.created, each.name))
        for at in range(0, len(ordered), _BATCH):
            batch: dict[str, list[tuple[Remote, Found]]] = defaultdict(list)
            for done, remote in enumerate(ordered[at : at + _BATCH], at + 1):
                if _source_of(remote) is None and self._local(remote) is None:
                    one = self._found(remote)
                    if one is not None:
                        batch[remote.name.rpartition("/")[0]].append((remote, one))
                progress(done, len(ordered))
            reports += [self._bring_in(project, pairs) for project, pairs in batch.items()]
        redact = self._store.redactor.text
        return ImportReport(
            tuple(v for r in reports for v in r.imported),
            tuple(v for r in reports for v in r.there),
            (*self._notes.skipped, *(s for r in reports for s in r.skipped)),
            (*map(redact, self._notes.oddities), *(o for r in reports for o in r.oddities)),
        )  # fmt: skip

    def _bring_in(self, project: str, pairs: Sequence[tuple[Remote, Found]]) -> ImportReport:
        aliases: dict[str, dict[str, int]] = defaultdict(dict)
        for remote, one in pairs:
            if one.gone is None:
                number, numbers = one.version.number, aliases[one.version.name]
                numbers.update((alias, number) for alias in remote.aliases if alias != LATEST)
        root = f"{self._server.base_url}/{project}"
        found = [one for _, one in pairs]
        return bring_in(self._store, _MIRROR, root, found, Notes(), aliases=aliases)

    # ------------------------------------------------------------------------ one version

    def id_of(self, remote: Remote) -> VersionId:
        """Return the name and number that a version has here."""
        path, _, number = remote.name.rpartition(":v")
        project, _, name = path.rpartition("/")
        return VersionId(f"{self._called or project}/{name}", int(number))

    def local_of(self, remote: Remote) -> VersionId:
        """Return what a version is called here: delivered from here, or imported."""
        return self._local(remote) or self.id_of(remote)

    def _found(self, remote: Remote) -> Found | None:
        version, ours = self.id_of(remote), _ours(remote)
        try:
            ArtifactURI.pinned(version.name, version.number)
            ArtifactURI.parse(str(version))
        except URIError as error:
            why = f"cannot be a name here ({error.rule}); import with --as NAME"
            self._notes.leave_out(version.name, f"v{version.number}", remote.name, why)
            return None
        gone = next((s for s in (State.DELETED, State.REPLACED) if str(s) in remote.tags), None)
        content = hashlib.sha256(f"{remote.name} {remote.digest}".encode()).hexdigest()[:32]
        place = self._place(remote)
        if self._has(version):
            return Found(
                version=version, file="", type=remote.type, path=place, metadata={},
                content=content, gone=gone,
            )  # fmt: skip
        verified, reason = "unverified: not looked at", None
        if self._limit and gone is None:
            try:
                verified = verify(remote.name, self._server.references(remote), self._limit)
            except Conflict as error:
                gone, reason, verified = State.REPLACED, str(error), "unverified: it is gone"
                self._notes.odd(remote.name, f"{error}; imported as replaced, for its lineage")
        detail: dict[str, Any] = {
            "name": remote.name, "url": remote.url, "digest": f"wandb:{remote.digest}",
            "verified": verified,
        }  # fmt: skip
        if ours:
            detail["lineage"] = {k: ours[k] for k in ("uri", "store", "digest") if k in ours}
        producer = self._producer(remote)
        if producer is not None:
            detail["run"] = producer.path
        return Found(
            version=version, file=remote.name.rpartition("/")[2], type=remote.type, path=place,
            metadata={key: value for key, value in remote.metadata.items() if key != KEY},
            content=content, detail=detail, gone=gone, reason=reason,
            created=time_of(remote.created or None, remote.name, self._notes),
            digest=ours.get("digest") if verified == VERIFIED else None,
            inputs=self._edges(remote, producer),
            run=None if producer is None else self._run(producer),
        )  # fmt: skip

    def _has(self, version: VersionId) -> bool:
        with self._store.reading() as db:
            return queries.node_of(db, version) is not None and (
                queries.version(db, version.uri) is not None
            )

    def _place(self, remote: Remote) -> str:
        """Return where the bytes of an artifact lie; W&B's own storage is an address too."""
        path = remote.metadata.get("absolute_path") or _ours(remote).get("path")
        if isinstance(path, str) and (path.startswith("/") or "://" in path):
            return path
        entries = {p: each for p, (each, _, _) in self._server.references(remote).items() if each}
        roots = {each.removesuffix(f"/{path}") for path, each in entries.items()}
        if len(roots) == 1:  # a folder with all that is in it, or one reference
            return roots.pop()
        if entries:
            shared = posixpath.commonpath([each.partition("://")[2] for each in entries.values()])
            scheme = next(iter(entries.values())).partition("://")[0]
            if shared.strip("/"):
                return f"{scheme}://{shared}"
        return f"wandb-artifact://{remote.name.replace(':', '/')}"

    def _edges(self, remote: Remote, producer: RemoteRun | None) -> tuple[Input, ...]:
        """Return what a version was made from: what its run used, and how, where that is said."""
        if producer is None:
            return ()
        told = {each.get("uri"): each for each in _ours(remote).get("inputs", ())}
        exact = "inputs" in _ours(remote)
        edges = []
        for used in self._inputs_of(remote):
            uri = _source_of(used) or _ours(used).get("uri")
            facts = told.get(uri)
            if exact and facts is None:
                continue  # the run used it later, or for something else
            known = {key: facts[key] for key in _EDGE if key in facts} if facts else {}
            edges.append(Input(target=self._target(used), **known))
        return tuple(edges)

    def _inputs_of(self, remote: Remote) -> list[Remote]:
        """Return what the run of a version used, without what it made itself."""
        producer = self._producer(remote)
        if producer is None:
            return []
        if producer.path not in self._used:
            used = self._server.inputs(producer.path)
            mine = [each for each in used if self._is_by(each, producer)]
            if mine:
                names = ", ".join(each.name for each in mine)
                self._notes.odd(producer.path, (
                    f"uses what it made itself ({names}), and W&B does not say in which order; "
                    "these edges are left out"
                ))  # fmt: skip
            self._used[producer.path] = [each for each in used if each not in mine]
        return self._used[producer.path]

    def _is_by(self, remote: Remote, run: RemoteRun) -> bool:
        by = self._producer(remote)
        return by is not None and by.path == run.path

    def _producer(self, remote: Remote) -> RemoteRun | None:
        if remote.name not in self._producers:
            self._producers[remote.name] = self._server.producer(remote)
        return self._producers[remote.name]

    def _target(self, remote: Remote) -> VersionId | SourceURI:
        source = _source_of(remote)
        if source is not None:
            return SourceURI.parse(source)
        return self.local_of(remote)

    def _local(self, remote: Remote) -> VersionId | None:
        """Return the version of this store that was delivered as an artifact, or None."""
        with self._store.reading() as db:
            subject = queries.named(db, _MIRROR, remote.name)
        return VersionId.read(subject) if subject and subject.startswith("art://") else None

    # ------------------------------------------------------------------------------- runs

    def _run(self, run: RemoteRun) -> str:
        """Return the id of a W&B run here, bringing it over when it is new."""
        if run.path not in self._runs:
            with self._store.reading() as db:
                subject = queries.named(db, _MIRROR, run.path)
            if subject is not None and subject.startswith("run:"):
                self._runs[run.path] = subject.removeprefix("run:")
            else:
                self._runs[run.path] = self._bring(run)
        return self._runs[run.path]

    def _bring(self, run: RemoteRun) -> str:
        text = f"wandb {self._server.base_url} {run.path}"
        run_id = hashlib.sha256(text.encode()).hexdigest()[:16]
        redact = self._store.redactor.value
        entity, project, name = run.path.split("/")
        link = {
            "name": run.path, "id": name, "entity": entity, "project": project, "url": run.url,
            "base_url": self._server.base_url,
        }  # fmt: skip
        self._store.commit(
            RunStarted(
                run=run_id, name=run.name, job_type=run.job_type,
                config=redact(self._server.config(run)),
                detail={"origin": {"system": _MIRROR, "created": run.created, **link}},
            )
        )  # fmt: skip
        self._store.commit(Receipt(mirror=_MIRROR, delivered={f"run:{run_id}": link}))
        status = _ENDS.get(run.state)
        if status is not None:
            self._store.commit(RunEnded(run=run_id, status=str(status)))
        return run_id


def _ours(remote: Remote) -> Mapping[str, Any]:
    found = remote.metadata.get(KEY)
    return found if isinstance(found, dict) else {}


def _source_of(remote: Remote) -> str | None:
    """Return the outside source that an artifact stands for, or None."""
    found = _ours(remote).get("source")
    return found if isinstance(found, str) else None
