"""Looks in W&B for an artifact that the journal does not know, and imports it.

From then on it resolves without a network, by its whole name and by the one that was asked for.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import grammar
from ..errors import ArtifactNotFoundError, Conflict, MirrorUnready, URIError
from ..index import queries
from ..model import VersionId
from .base import Refused, Retry
from .chosen import chosen_wandb
from .content import KEY
from .names import encode, version_alias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..registry import Lineage
    from ..uri import ArtifactURI
    from .chosen import Wandb
    from .wandb import Server

__all__ = ["look_in_wandb"]

_log = logging.getLogger(__name__)

_MOST = 200  # versions that one look imports
_READ = 64 << 20  # bytes that one look reads to verify


def look_in_wandb(
    store: Lineage,
    *,
    project: str | None = None,
    entity: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> bool:
    """Have a store look in W&B for artifacts that it does not know, where W&B is configured.

    Args:
        store: the open store.
        project: W&B project for short names; by default that of env.toml or ``WANDB_PROJECT``.
        entity: team or user; by default as configured.
        environ: the environment, by default that of the process.

    Returns:
        Whether a project is known, and W&B may be asked.

    Raises:
        StoreError: env.toml cannot be read.
    """
    environ = os.environ if environ is None else environ
    place = chosen_wandb(environ)
    place = replace(place, project=project or place.project, entity=entity or place.entity)
    if not place.project or environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return False
    store.elsewhere = _Elsewhere(store, place).find
    return True


class _Elsewhere:
    def __init__(self, store: Lineage, place: Wandb) -> None:
        self._store, self._place = store, place
        self._server: Server | None = None

    def find(self, uri: ArtifactURI) -> ArtifactURI | None:
        """Return the pinned reference of what a reference means in W&B; imported when it is new."""
        known = self._imported(uri)
        if known is not None:
            return known
        try:
            return self._ask(uri)
        except (Retry, Refused, MirrorUnready, Conflict) as error:
            _log.warning("W&B could not be asked for %s: %s", uri, error)
            return None

    # ------------------------------------------------------------------- without a network

    def _imported(self, uri: ArtifactURI) -> ArtifactURI | None:
        """Return the version that was delivered from here, or imported under a longer name."""
        with self._store.reading() as db:
            subject = queries.named(db, "wandb", f"{uri.identity}:{uri.selector}")
        if subject is not None and subject.startswith("art://"):
            return VersionId.read(subject).uri
        for name in self._names(uri):
            for selector in _selectors(uri):
                try:
                    # not resolve(), which would ask elsewhere again
                    found = self._store.version(f"{name}:{selector}")
                except (ArtifactNotFoundError, URIError):
                    continue
                if found.origin is not None and _is_meant(selector, found.origin.get("lineage")):
                    return found.uri
        return None

    def _names(self, uri: ArtifactURI) -> Iterator[str]:
        end = f"{self._place.project}/{encode(uri.identity)}"
        if self._place.entity is not None:
            yield f"{self._place.entity}/{end}"
            return
        with self._store.reading() as db:
            rows = db.execute("SELECT name FROM artifact WHERE name LIKE ?", (f"%/{end}",))
            names = [str(name) for (name,) in rows]
        yield from names if len(names) == 1 else ()

    # ---------------------------------------------------------------------- with a network

    def _ask(self, uri: ArtifactURI) -> ArtifactURI | None:
        from .wandb import Server
        from .wandb_import import WandbImport

        if self._server is None:
            self._server = Server(self._place.base_url)
        self._server.probe(strictly=True)
        for name in self._candidates(uri):
            remote = self._server.find(name)
            if remote is None or not remote.is_whole:
                continue
            is_short = name.rpartition(":")[0] != uri.identity
            if is_short and not _is_meant(name.rpartition(":")[2], remote.metadata.get(KEY)):
                continue
            work = WandbImport(self._store, self._server, limit=_READ)
            for sentence in work.one(remote, _MOST).oddities:
                _log.warning("%s", sentence)
            return work.local_of(remote).uri
        return None

    def _candidates(self, uri: ArtifactURI) -> Iterator[str]:
        """Yield what a reference may mean: a name of ours in the project, then W&B's own words."""
        assert self._server is not None  # made by the caller
        entity = self._place.entity or self._server.default_entity()
        for selector in _selectors(uri):
            yield f"{entity}/{self._place.project}/{encode(uri.identity)}:{selector}"
        words = uri.identity.split("/")
        if len(words) in (2, 3):
            yield "/".join([entity, *words][-3:]) + f":{uri.selector}"


def _selectors(uri: ArtifactURI) -> tuple[str, ...]:
    """Return what to look for: the number of a short name is one of ours before it is W&B's."""
    if uri.version is None:
        return (uri.alias or grammar.LATEST,)
    return (version_alias(uri.version), f"v{uri.version}")


def _is_meant(selector: str, ours: object) -> bool:
    """Tell whether a selector may be taken as W&B's: what a store delivered goes by its own."""
    is_number = selector.startswith("v") and selector[1:].isdigit()
    return not (is_number and ours)
