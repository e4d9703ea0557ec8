"""``${art:KEY,FIELD}`` in OmegaConf and Hydra configurations.

A KEY stands for a reference in the section ``run`` of the configuration. Which of its values are
references is not guessed: those whose key some ``${art:KEY,...}`` names, and those that begin with
``art://``.
"""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from nemotron.lineage import ArtifactURI, Launch, Pinned, pin_job

from . import session
from .containers import inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from omegaconf import DictConfig

__all__ = [
    "clear_artifact_cache",
    "references_of",
    "register_resolvers",
    "register_resolvers_from_config",
]

ResolverMode = Literal["active_run", "pre_init", "local"]

# ${art:data,path} names the key `data`; ${art:${run.data},path} the reference that run.data holds
_ART = re.compile(r"\$\{art:\s*(?:\$\{\s*([\w.]+)\s*\}|([^,}$]+?))\s*[,}]")
_ITERATION = re.compile(r"iter_(\d+)")
ROLES = {"model": "init", "tokenizer": "tokenizer"}  # by type; everything else is data

_known: dict[str, Pinned] = {}


def register_resolvers(
    artifacts: Mapping[str, str] | None = None,
    *,
    replace: bool = True,
    mode: ResolverMode = "active_run",
    pre_init_patch_http_digest: bool = False,
) -> list[str]:
    """Resolve references and make ``${art:KEY,FIELD}`` known to OmegaConf.

    All ranks and attempts of a job get the same versions. They become inputs of the run.

    Args:
        artifacts: key to reference, e.g. ``{"data": "sft-tokens:latest"}``.
        replace: whether to replace a resolver that is there already.
        mode: accepted as documented; every mode resolves in the store, none needs a network.
        pre_init_patch_http_digest: accepted and ignored: digests are never left unchecked.

    Returns:
        The pinned references, ``art://name:vN``, without repetition.

    Raises:
        ValueError: an unknown mode.
        TypeError: a reference that is no text.
        URIError, ArtifactNotFoundError, ArtifactGone, PinsFailed: as ``pin_job``.
    """
    del pre_init_patch_http_digest
    if mode not in get_args(ResolverMode):
        raise ValueError(f"{mode!r} is no mode; the known ones are {get_args(ResolverMode)}")
    found = _resolve(artifacts or {})
    _register(replace=replace)
    return found


def register_resolvers_from_config(
    config: DictConfig | str | os.PathLike[str],
    artifacts_key: str = "run",
    *,
    replace: bool = True,
    mode: ResolverMode = "active_run",
    pre_init_patch_http_digest: bool = False,
) -> list[str]:
    """Resolve the references of a configuration and make ``${art:KEY,FIELD}`` known.

    Args:
        config: the configuration, or the path of its YAML file.
        artifacts_key: the section that holds the references, e.g. ``run`` or ``run.artifacts``.
        replace: as for ``register_resolvers``.
        mode: as for ``register_resolvers``.
        pre_init_patch_http_digest: as for ``register_resolvers``.

    Returns and raises: as ``register_resolvers``.
    """
    return register_resolvers(
        references_of(config, artifacts_key), replace=replace, mode=mode,
        pre_init_patch_http_digest=pre_init_patch_http_digest,
    )  # fmt: skip


def references_of(
    config: DictConfig | str | os.PathLike[str], artifacts_key: str = "run"
) -> dict[str, Any]:
    """Return the references of a configuration by their keys, without resolving any.

    Args:
        config: as for ``register_resolvers_from_config``.
        artifacts_key: as for ``register_resolvers_from_config``.
    """
    from omegaconf import OmegaConf  # only where there is a configuration

    read: Any = config
    if isinstance(config, (str, os.PathLike)):
        read = OmegaConf.load(os.fspath(config))
    section = OmegaConf.select(read, artifacts_key, default=None)
    values = OmegaConf.to_container(section, resolve=False) if OmegaConf.is_config(section) else {}
    keys = set()
    artifacts: dict[str, Any] = {}
    for place, key in _asked(OmegaConf.to_container(read, resolve=False)):
        named = key or str(OmegaConf.select(read, place))
        if ":" in named:  # a reference in place of a key
            artifacts[named] = named
        else:
            keys.add(named)
    if isinstance(values, dict):
        for name, value in values.items():
            key = str(name)
            is_reference = isinstance(value, str) and ArtifactURI.detect(value)
            if value is not None and (key in keys or is_reference):
                artifacts[key] = section[name]
    return artifacts


def clear_artifact_cache() -> None:
    """Forget what was resolved, so that the next registration asks again.

    A job's pins stay: its ranks and attempts go on agreeing.
    """
    _known.clear()


def _resolve(artifacts: Mapping[str, str]) -> list[str]:
    for key, reference in artifacts.items():
        if not isinstance(reference, str):
            raise TypeError(
                f"{key}: {reference!r} is no reference; write one such as {key}: name:latest"
            )
    pins = pin_job(artifacts.values(), store=session.address(), opener=session.store)
    for key, reference in artifacts.items():
        pinned = pins[reference]
        if key not in _known and Launch.read(os.environ).rank == 0:
            session.remember(pinned.uri, role=ROLES.get(pinned.type, "data"))
        _known[key] = pinned
    return list(dict.fromkeys(pinned.uri for pinned in pins.values()))


def _asked(value: object) -> Iterator[tuple[str, str]]:
    """Yield (where the reference stands, '') or ('', the key) of each ``${art:...}`` inside."""
    if isinstance(value, str):
        yield from _ART.findall(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _asked(item)
    elif isinstance(value, list):
        for item in value:
            yield from _asked(item)


def _register(*, replace: bool) -> None:
    from omegaconf import OmegaConf  # only where there is a configuration

    # 2.3 has a legacy function of this name, without `replace`
    modern = getattr(OmegaConf, "register_resolver", None)
    if modern is not None and "replace" in inspect.signature(modern).parameters:
        modern("art", _art, replace=replace)
    else:
        OmegaConf.register_new_resolver("art", _art, replace=replace)


def _art(key: object = None, field: object = "path") -> Any:
    """Answer ``${art:KEY,FIELD}``."""
    if key is None or key == "":
        raise KeyError("${art:KEY,FIELD} needs a key, e.g. ${art:data,path}")
    name = str(key)
    if name not in _known:
        if ":" not in name:  # a reference in place of a key carries a selector or art://
            known = ", ".join(sorted(_known)) or "none; call register_resolvers_from_config first"
            raise KeyError(f"${{art:{name}}}: there is no {name!r}; the known keys are: {known}")
        _resolve({name: name})
    return _field(name, _known[name], "path" if field is None else str(field))


def _field(key: str, pinned: Pinned, field: str) -> Any:
    metadata = pinned.metadata
    nested = metadata.get("metadata")
    nested = nested if isinstance(nested, dict) else {}
    facts = _facts(pinned)
    if field.startswith("metadata."):
        shelves: Iterable[Mapping[str, Any]] = (metadata, nested)
        name = field.removeprefix("metadata.")
    else:
        shelves, name = (facts, metadata, nested), field
    for shelf in shelves:
        if name in shelf:
            return _answer(shelf[name])
    fields = ", ".join(dict.fromkeys(name for shelf in shelves for name in shelf))
    raise KeyError(f"${{art:{key},{field}}}: {pinned.uri} has no {name!r}; it has {fields}")


def _facts(pinned: Pinned) -> dict[str, Any]:
    path = inside(pinned.address)
    facts: dict[str, Any] = {
        "path": path, "version": pinned.version, "name": pinned.name, "type": pinned.type,
        "uri": pinned.uri, "qualified_name": pinned.uri, "created_at": pinned.created_at,
        "producer": pinned.producer,
    }  # fmt: skip
    iteration = _ITERATION.fullmatch(Path(path).name)
    if iteration is not None:
        # Megatron-Bridge is given the folder above and the number
        facts |= {"path": str(Path(path).parent), "iteration": int(iteration[1]), "folder": path}
    return facts


def _answer(value: Any) -> Any:
    """Give mappings and lists the form that can be interpolated into."""
    if not isinstance(value, (dict, list)):
        return value
    from omegaconf import OmegaConf  # only where there is a configuration

    return OmegaConf.create(value)
