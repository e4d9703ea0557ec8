"""Who has a name: whoever asked first, by a file beside the journal that is made once.

Checkpoint hooks name artifacts by folders, and two folders may come to one name. A claim tells
them apart without opening the journal. A store in a bucket or a database has no such file: hooks
wait for no network, so there two folders of one name are one artifact, and names are to be given.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

from .files import Files, explain
from .journal.kinds import folder_beside
from .metadata import canonical_json
from .settings import choose_store

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["claim_name"]


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
    folder = folder_beside(choose_store(store, environ)[0], "names")
    if folder is None:
        return None
    path = os.path.join(folder, f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json")
    files = Files()
    try:
        if not os.path.exists(path):  # on a full disk, who asked before still has the name
            files.make_folder(folder)
            files.put_new(path, canonical_json({"name": name, "owner": owner}).encode() + b"\n")
            return owner
    except FileExistsError:
        pass
    except OSError as error:
        raise explain(error, "the claim of a name") from error
    found: str = json.loads(files.read(path))["owner"]
    return found
