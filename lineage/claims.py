"""Who has a name: whoever asked first, by a file beside the journal that is made once.

Checkpoint hooks name artifacts by folders, and two folders may come to one name. A claim tells
them apart without opening the journal. A store in a bucket or a database has no such file: hooks
wait for no network, so there two folders of one name are one artifact, and names are to be given.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from .files import explain
from .journal.kinds import folder_beside, open_shelf
from .metadata import canonical_json
from .settings import choose_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .shelf import Shelf

__all__ = ["claim_name", "copy_claims"]

_FOLDER = "names"


def claim_name(
    name: str,
    owner: str,
    *,
    store: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> str | None:
    """Claim a name for an owner, and return the owner who has it now.

    Args:
        name: of an artifact.
        owner: who wants it, e.g. the folder of the checkpoints.
        store: the store's address; None as for ``open``.
        environ: the environment, by default that of the process.

    Returns:
        ``owner`` when the name is theirs, now or from before; else the one who was first. None
        where the store is no folder of this host, and nobody can say.

    Raises:
        StoreFull, StoreReadOnly, OSError: the claim could not be written.
    """
    shelf = _shelf(choose_store(store, environ)[0])
    if shelf is None:
        return None
    page = f"{_FOLDER}/{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
    try:
        if not os.path.exists(shelf.where(page)):  # on a full disk, who asked before still has it
            shelf.put_new(page, canonical_json({"name": name, "owner": owner}).encode() + b"\n")
            return owner
    except FileExistsError:
        pass
    except OSError as error:
        raise explain(error, "the claim of a name") from error
    found: str = json.loads(shelf.read(page))["owner"]
    return found


def copy_claims(source: str, target: str) -> None:
    """Have a copy of a store know who has which name, where both are folders of this host.

    What was claimed in the copy already stays.
    """
    there, here = _shelf(source), _shelf(target)
    if there is not None and here is not None:
        for name in there.names(_FOLDER):
            with suppress(FileExistsError):
                here.put_new(f"{_FOLDER}/{name}", there.read(f"{_FOLDER}/{name}"))


def _shelf(address: str) -> Shelf | None:
    """Return where the claims of a store lie, None where nobody keeps any."""
    return None if folder_beside(address, _FOLDER) is None else open_shelf(address)
