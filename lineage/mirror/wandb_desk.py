"""The deliveries of one run to W&B: a version is one artifact, with its inputs, aliases and end.

Whatever is due is brought to how it stands in the store now. What W&B has is found by the receipt,
else by the alias ``lineage-vN``; only then is it logged.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import ArtifactNotFoundError
from ..events import Event, Imported, Published, Used
from ..grammar import LATEST
from ..index import queries
from ..model import VersionId
from ..source import SourceURI
from .base import Desk, Due, Refused, Waits
from .content import KEY, of_source, of_version, source_alias
from .lease import Holder, Lease, leases_of
from .names import encode, source_name, version_alias
from .wandb_run import RunThere
from .wandb_standing import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..model import Input, Version
    from ..registry import Lineage
    from .content import Draft
    from .wandb_live import LiveRun, Upload
    from .wandb_mirror import WandbMirror
    from .wandb_remote import Remote

__all__ = ["WandbDesk"]

_log = logging.getLogger(__name__)

_SETTLE = 5.0  # seconds for which what is half there may yet become whole
_PAUSE = 0.25
_BRIDGE = 3.0  # seconds for Megatron-Bridge to log a checkpoint of its own


class WandbDesk(Desk):
    """The deliveries of one run to W&B."""

    def __init__(
        self, mirror: WandbMirror, run: str, link: dict[str, Any], store: Lineage, lease: Lease
    ) -> None:
        self._mirror, self._run, self._store = mirror, run, store
        self._lease = lease
        self._server = mirror.server(link.get("base_url"))
        self._standing = Standing(self._server, store, self._remote_of, self._is_coming)
        self._there = RunThere(mirror, self._server, run, link, store)
        self._used: set[str] | None = None  # ids of what it used before
        self._checked: set[str] = set()  # collections that hold nothing of others
        self._extra: dict[str, dict[str, Any]] = {}

    # --------------------------------------------------------------------- delivering

    def deliver(self, due: Due) -> Mapping[str, Mapping[str, Any]]:
        """Bring one subject up to date."""
        self._extra = {}
        if due.subject.startswith("run:"):
            facts = self._there.deliver()
        elif due.subject.startswith("art://"):
            facts = self._deliver_version(VersionId.read(due.subject))
        else:
            facts = {}
            event = self._event(due)
            if isinstance(event, Used):
                self._edge(event.input)
        return {due.subject: facts, **self._extra}

    def _event(self, due: Due) -> Event:
        number, position = due.place
        (commit,) = self._store.journal.read(number - 1, number)
        return commit.entries[position].event

    def close(self) -> None:
        """Finish the run, where it was made live for these deliveries."""
        self._there.close()

    # ----------------------------------------------------------------------- versions

    def _deliver_version(self, id: VersionId) -> dict[str, Any]:
        try:
            version = self._store.version(id.uri)
        except ArtifactNotFoundError:
            return {}  # it was only referred to
        receipt = self._receipt(id)
        remote = self._find(version, receipt)
        if remote is None:
            if receipt is not None and not self._mirror.again:
                return {"name": receipt, "gone": True}  # somebody removed it from W&B
            remote = self._log(version)
        inputs = self._store.inputs(version)
        if version.run == self._run:
            self._edges(inputs)
        self._standing.tell(remote, version, inputs)
        facts = {"name": remote.name, "url": remote.url}
        was_gone = (self._facts(str(id)) or {}).get("gone")
        return {**facts, "gone": False} if was_gone else facts

    def _receipt(self, id: VersionId) -> str | None:
        name = (self._facts(str(id)) or {}).get("name")
        return None if name is None else str(name)

    def _facts(self, subject: str) -> Mapping[str, Any] | None:
        """Return what receipts say of a version or run."""
        with self._store.reading() as db:
            found = queries.receipts(db, subject)
        return next((each.facts for each in found if each.mirror == self._mirror.name), None)

    def _find(self, version: Version, receipt: str | None) -> Remote | None:
        """Return the artifact of a version, if W&B has it."""
        subject = str(version.id)
        upload = self._mirror.uploads.get(subject)
        if upload is not None:
            return self._arrived(subject, upload, 0.0)
        if receipt is not None:
            remote = self._still(receipt, version.id)
            if remote is not None or not self._mirror.again:
                return remote
        name = f"{self._collection(version.name)}:{version_alias(version.number)}"
        remote = self._server.find(name)
        if remote is None:
            return self._adopt(version)
        remote = self._whole(remote, name)
        if remote is not None:
            self._must_be_ours(remote, version)
        return remote

    def _still(self, receipt: str, id: VersionId) -> Remote | None:
        """Return the artifact that a receipt names, unless W&B has removed or renumbered it."""
        remote = self._server.find(receipt)
        if remote is None:
            return None
        said = _ours(remote).get("uri")  # a collection that was deleted counts from v0 again
        is_same = version_alias(id.number) in remote.aliases if said is None else said == str(id)
        return remote if is_same else None

    def _collection(self, name: str) -> str:
        return f"{self._there.place()}/{encode(name)}"

    def _whole(self, remote: Remote, name: str) -> Remote | None:
        """Return an artifact once it is committed; what stays half-way counts as not there."""
        deadline = time.monotonic() + _SETTLE
        found: Remote | None = remote
        while found is not None and not found.is_whole:
            if time.monotonic() > deadline:
                _log.info("%s was left half-way, and is logged anew", name)
                return None
            time.sleep(_PAUSE)
            found = self._server.find(name)
        return found

    def _must_be_ours(self, remote: Remote, version: Version | None = None) -> None:
        """Refuse what another name or another store has put there.

        What a store logged that this one goes on from is ours, up to where it was copied.
        """
        ours = _ours(remote)
        if not ours:
            return
        store, uri = ours.get("store"), str(ours.get("uri", ""))
        journal = self._store.journal
        is_ours = (
            store is None or store == journal.id
            or (journal.is_ours(store) if version is None
                else store in journal.holders(version.commit))
        )  # fmt: skip
        if not is_ours:
            raise Refused(
                f"{remote.name} holds versions of another store ({store}); name another W&B "
                "project, or publish under another name"
            )
        if version is not None and uri and uri != str(version.id):
            raise Refused(
                f"{remote.name} is {uri}, and not {version.id}; publish under another name"
            )

    def _log(self, version: Version) -> Remote:
        subject = str(version.id)
        place = self._collection(version.name)
        if place not in self._checked:
            newest = self._server.find(f"{place}:{LATEST}")
            if newest is not None:
                self._must_be_ours(newest)
                name = _ours(newest).get("uri")
                if name and VersionId.read(str(name)).name != version.name:
                    raise Refused(
                        f"{place} belongs to art://{VersionId.read(str(name)).name}; publish "
                        "under another name"
                    )
            self._checked.add(place)
        is_output = version.run == self._run
        run = self._there.resume()
        draft = of_version(
            version, self._published(version), self._store.inputs(version),
            store=self._store.journal.id,
            aliases=[*version.aliases, *(self._experiment() if is_output else ())],
        )  # fmt: skip
        return self._upload(run, subject, draft, as_input=not is_output)

    def _upload(self, run: LiveRun, subject: str, draft: Draft, *, as_input: bool) -> Remote:
        self._lease.mark_busy()
        upload = self._mirror.uploads[subject] = run.log(draft, as_input=as_input)
        return self._arrived(subject, upload, self._mirror.upload)

    def _arrived(self, subject: str, upload: Upload, seconds: float) -> Remote:
        try:
            return upload.result(seconds)
        finally:
            if upload.is_over:
                self._mirror.uploads.pop(subject, None)
                self._lease.mark_busy(busy=bool(self._mirror.uploads))

    def _published(self, version: Version) -> Published | Imported:
        """Return the event by which a version came into being."""
        (commit,) = self._store.journal.read(version.commit - 1, version.commit)
        for entry in commit.entries:
            event = entry.event
            if isinstance(event, (Published, Imported)) and event.version == version.id:
                return event
        raise Refused(f"commit {version.commit} does not hold {version.id}. Try: lineage fsck")

    def _experiment(self) -> list[str]:
        """Return the alias by which the earlier kit found what an experiment made last."""
        launcher = self._store.run_info(self._run).detail.get("launcher") or {}
        found = launcher.get("NEMO_EXPERIMENT_ID")
        return [str(found)] if found and not {"/", ":"} & set(str(found)) else []

    def _remote_of(self, id: VersionId) -> Remote | None:
        receipt = self._receipt(id)
        if receipt is not None:
            return self._still(receipt, id)
        remote = self._server.find(f"{self._collection(id.name)}:{version_alias(id.number)}")
        return remote if remote is not None and remote.is_whole else None

    def _is_coming(self, id: VersionId) -> bool:
        """Tell whether a version that W&B does not have is to be delivered."""
        run = self._store.version(id.uri).run
        return run is not None and (run == self._run or self._is_covered(run))

    # ------------------------------------------------------------------- Megatron-Bridge

    def _adopt(self, version: Version) -> Remote | None:
        """Return the artifact that Megatron-Bridge logged for a checkpoint under our very name.

        With its W&B writer on, it logs each checkpoint itself, under the stem of the folder.
        Where that is the name here too, one artifact serves both.
        """
        said = version.metadata
        folder = said.get("absolute_path")
        if said.get("framework") != "megatron-bridge" or not isinstance(folder, str):
            return None
        if os.path.splitext(os.path.basename(folder))[0] != encode(version.name):
            return None
        age = time.time() - version.occurred.timestamp()
        if self._mirror.live is not None and age < _BRIDGE:
            raise Waits("Megatron-Bridge may be about to log it")
        path = version.address
        name = f"{self._collection(version.name)}:{os.path.basename(path)}"
        remote = self._server.find(name)
        remote = None if remote is None else self._whole(remote, name)
        if remote is None or _ours(remote) or remote.metadata.get("iteration") != said["iteration"]:
            return None
        places = [address for address, _, _ in self._server.references(remote).values()]
        inside = f"{SourceURI.local(path).uri}/"
        real = f"file://{path}/"
        if places and all(each and each.startswith((inside, real)) for each in places):
            return remote
        return None

    # -------------------------------------------------------------------------- inputs

    def _edges(self, inputs: Iterable[Input]) -> None:
        for used in inputs:
            self._edge(used)

    def _edge(self, used: Input) -> None:
        """Make sure that W&B knows an input of the run."""
        if isinstance(used.target, VersionId):
            remote = self._input(used.target)
        elif isinstance(used.target, SourceURI):
            remote = self._source(used)
        else:
            return
        if remote is None:
            return
        if self._used is None:
            self._there.reach()
            self._used = {each.id for each in self._server.inputs(self._there.path)}
        if remote.id not in self._used:
            self._server.use(self._there.path, remote)
            self._used.add(remote.id)

    def _input(self, id: VersionId) -> Remote | None:
        """Return the artifact of an input; what no mirrored run published is made for it."""
        try:
            version = self._store.version(id.uri)
        except ArtifactNotFoundError:
            raise Waits(f"{id} is not in this store") from None
        if version.run == self._run:
            return None  # W&B has no steps: a run that uses what it made would be its own parent
        origin = version.origin or {}
        if origin.get("system") == self._mirror.name:
            return self._server.find(str(origin.get("name")))
        receipt = self._receipt(id)
        if receipt is not None:
            remote = self._still(receipt, id)
            if remote is not None or not self._mirror.again:
                return remote  # what somebody removed from W&B is no input there any more
        if version.run is not None and self._is_covered(version.run):
            raise Waits(f"{id} has not arrived yet")
        with self._alone():
            remote = self._find(version, None) or self._log(version)
        self._extra[str(id)] = {"name": remote.name, "url": remote.url}
        return remote

    def _is_covered(self, run: str) -> bool:
        return self._mirror.covers(run, self._facts(f"run:{run}"))

    def _source(self, used: Input) -> Remote:
        """Return the artifact of an outside source, which nobody produced."""
        assert isinstance(used.target, SourceURI)  # the caller looked
        place = f"{self._there.place()}/{source_name(used.target.uri)}"
        with self._alone():
            remote = self._server.find(f"{place}:{source_alias(used)}")
            if remote is not None and remote.is_whole:
                return remote
            subject = f"{place}:{source_alias(used)}"
            upload = self._mirror.uploads.get(subject)
            if upload is not None:
                return self._arrived(subject, upload, 0.0)
            return self._upload(self._there.resume(), subject, of_source(used), as_input=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the deliverers of two runs from making one input at the same time."""
        lease = Lease.take(
            self._mirror.leases,
            leases_of(self._mirror.name),
            "inputs",
            helpers=self._mirror.helpers,
        )
        if isinstance(lease, Holder):
            raise Waits(f"inputs are being delivered by {lease.who}")
        with lease:
            lease.mark_busy()
            yield


def _ours(remote: Remote) -> Mapping[str, Any]:
    """Return our part of an artifact's metadata; empty when it is none of ours."""
    found = remote.metadata.get(KEY)
    return found if isinstance(found, dict) else {}
