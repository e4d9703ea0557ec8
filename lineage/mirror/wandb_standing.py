"""Makes an artifact of W&B say how its version stands now: aliases, end, digest, metadata.

What others wrote there stays: their aliases, tags, descriptions and metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..grammar import LATEST
from ..index import queries
from ..metadata import canonical_json
from ..model import State, VersionId
from .content import metadata_of, tombstone
from .names import version_alias

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import Input, Version
    from ..registry import Lineage
    from .wandb import Server
    from .wandb_remote import Remote

__all__ = ["Standing"]

_STATES = {str(state) for state in State} - {str(State.LIVE)}


class Standing:
    """Keeps artifacts of one server as the versions of a store stand.

    Args:
        server: where the artifacts are.
        store: where the versions are.
        holder: returns the artifact of a version, if it is whole.
        is_coming: tells whether a version that has none is to be delivered.
    """

    def __init__(
        self,
        server: Server,
        store: Lineage,
        holder: Callable[[VersionId], Remote | None],
        is_coming: Callable[[VersionId], bool],
    ) -> None:
        self._server, self._store, self._holder = server, store, holder
        self._is_coming = is_coming

    def tell(self, remote: Remote, version: Version, inputs: list[Input]) -> None:
        """Change what differs; where nothing does, nothing is sent."""
        newest = self._newest(version.name)
        aliases = self._aliases(remote, version, newest)
        state = str(version.state)
        tags = [tag for tag in remote.tags if tag not in _STATES or tag == state]
        if state in _STATES and state not in tags:
            tags.append(state)
        told = tombstone(version, self._reason(version))
        description = told if told != remote.description else None
        ours = metadata_of(version, inputs, store=self._store.journal.id)
        metadata = {**remote.metadata, **ours}
        if (set(aliases), set(tags)) == (set(remote.aliases), set(remote.tags)) and (
            description is None and _same(metadata, remote.metadata)
        ):
            return
        self._server.change(
            remote, aliases=aliases, tags=tags, description=description, metadata=metadata
        )

    def _aliases(self, remote: Remote, version: Version, newest: int | None) -> list[str]:
        wanted = {version_alias(version.number), *version.aliases}
        if newest == version.number:
            wanted.add(LATEST)
        aliases = [*remote.aliases, *sorted(wanted - set(remote.aliases))]
        for alias in remote.aliases:
            if alias not in wanted and self._moved_away(alias, version, newest):
                aliases.remove(alias)
        return aliases

    def _moved_away(self, alias: str, version: Version, newest: int | None) -> bool:
        """See to an alias that a version has in W&B and not here; true when it is to be removed."""
        if alias == LATEST:
            target = newest
        else:
            with self._store.reading() as db:
                known, target = queries.alias_of(db, version.name, alias)
            if not known:
                return False  # somebody set it in W&B
            if target is None:
                return True
        if target is not None and target != version.number:
            there = VersionId(version.name, target)
            holder = self._holder(there)
            if holder is None:
                # what W&B will never have cannot take it; what it has keeps its "latest"
                return alias != LATEST and not self._is_coming(there)
            # taking it is what removes it here
            self._server.change(
                holder, aliases=[*holder.aliases, alias], tags=holder.tags,
                description=None, metadata=holder.metadata,
            )  # fmt: skip
            return True
        return False

    def _newest(self, name: str) -> int | None:
        with self._store.reading() as db:
            return queries.latest_of(db, name)

    def _reason(self, version: Version) -> str | None:
        if version.state not in (State.DELETED, State.REPLACED):
            return None
        facts = [f for f in self._store.facts(version.uri) if f.kind in ("deleted", "replaced")]
        payload = facts[-1].payload if facts else {}
        by = payload.get("by") if version.state is State.REPLACED else None
        return payload.get("reason") or (f"by {by}" if by else None)


def _same(left: object, right: object) -> bool:
    return canonical_json(left) == canonical_json(right)
