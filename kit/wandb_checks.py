"""What the doctor says of W&B: the SDK, where it would ask, and what a job was not told.

Each sentence names the cause and the cure. No value of a key is in any of them, and no server is
asked but where that is wanted.
"""

from __future__ import annotations

import base64
import json
import os
import re
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from nemotron.lineage import LineageError, address_fault

from .config.reading import read, wandb_state
from .credentials import find_wandb_key, missing_wandb_login, wandb_base_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .config.reading import Settings

__all__ = ["look_at_wandb"]

Found = tuple[bool, str]

_OLDEST = (0, 26)
_INSTALL = "pip install -U 'nemotron-lineage[wandb]'"
# releases whose faults matter here: first, last, what is wrong
_FAULTS = (
    ((0, 23, 1), (0, 23, 1), "processes with one seed draw one id (wandb/wandb#10819)"),
    ((0, 24, 0), (0, 25, 99), "forked processes draw one id (wandb/wandb#11039)"),
)
_MOVED = (0, 31)  # asks another server of W&B's own where none is named
_DEFAULT = "https://api.wandb.ai"
_FORGE = "https://api.forge.coreweave.com"
_KEY, _TOKEN = "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"
_JOB = ("SLURM_JOB_ID", "NEMO_EXPERIMENT_ID", "TORCHELASTIC_RUN_ID", "RAY_JOB_ID", "LINEAGE_JOB")
_TIMEOUT = 10.0  # seconds


def look_at_wandb(
    *, online: bool = False, environ: Mapping[str, str] | None = None, sdk: str | None = None
) -> Iterator[Found]:
    """Yield (is fine, sentence) for everything that keeps a run from reaching W&B.

    Args:
        online: ask the server whether it answers, and whether it knows the login.
        environ: the environment, by default that of the process.
        sdk: the release of wandb; by default the one that is installed.
    """
    environ = os.environ if environ is None else environ
    try:
        settings = read()
    except LineageError:  # the check of env.toml tells of it
        settings = None
    section = (settings.wandb if settings is not None else None) or {}
    project = section.get("project") or environ.get("WANDB_PROJECT", "").strip()
    release = sdk or _installed()
    yield _sdk(release, wanted=bool(project))
    yield from _faults(release)
    yield _project(project, settings, environ)
    if environ.get(_KEY, "").strip() and environ.get(_TOKEN, "").strip():
        yield False, f"{_KEY} and {_TOKEN} are both set, which wandb refuses; unset one of them"
    yield from _job(project, environ)
    url = section.get("base_url") or wandb_base_url(environ)
    is_address, said = _server(url, release)
    yield is_address, said
    if online and is_address:
        yield _answer(url or (_FORGE if _numbers(release) >= _MOVED else _DEFAULT), environ)
    elif not online:
        yield True, "the server was not asked; lineage doctor --online does"


def _installed() -> str | None:
    try:
        return version("wandb")
    except PackageNotFoundError:
        return None


def _numbers(release: str | None) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", release or "")[:3]))


def _sdk(release: str | None, *, wanted: bool) -> Found:
    if release is None:
        return not wanted, f"wandb is not installed; where W&B is wanted: {_INSTALL}"
    if _numbers(release) < _OLDEST:
        return False, f"wandb {release} is older than 0.26, which the mirror needs: {_INSTALL}"
    return True, f"wandb {release}"


def _faults(release: str | None) -> Iterator[Found]:
    for first, last, fault in _FAULTS:
        if release is not None and first <= _numbers(release) <= last:
            cure = "call nemotron.kit.patch_wandb_runid_for_seeded_random(), or update wandb"
            yield False, f"wandb {release}: {fault}; {cure}"


def _project(project: str, settings: Settings | None, environ: Mapping[str, str]) -> Found:
    if not project:
        why = {
            "file missing": "no env.toml was found and WANDB_PROJECT is not set",
            "section missing": "env.toml has no section [wandb] and WANDB_PROJECT is not set",
        }.get(wandb_state(settings), "[wandb] of env.toml has no project")
        return True, f"off: {why}; set project in [wandb] of env.toml"
    if environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return True, f"project {project}, WANDB_MODE={environ['WANDB_MODE']}: lineage sync delivers"
    return True, (
        f"project {project}: it need not exist, the first run makes it; where W&B does not find "
        "it, the entity is another team, or the login may not write there"
    )


def _job(project: str, environ: Mapping[str, str]) -> Iterator[Found]:
    """Say what a job was not told: its environment does not come from the one that submitted it."""
    told = next((name for name in _JOB if environ.get(name)), None)
    if told is None:
        return
    where = "a Ray worker" if told == "RAY_JOB_ID" else "a job"
    cure = (
        "name it in env_vars of runtime_env of ray.init or of the Ray job: a worker inherits "
        "nothing of the shell that submitted it"
        if told == "RAY_JOB_ID"
        else "submit it with lineage run or build_executor, which pass it on, or add it to env_vars"
    )
    if not project:
        yield False, f"this is {where} ({told}), and WANDB_PROJECT did not reach it; {cure}"
    elif find_wandb_key(environ) is None and not environ.get(_TOKEN):
        yield False, f"this is {where} ({told}), and {_KEY} did not reach it; {cure}"


def _server(url: str | None, release: str | None) -> Found:
    if not url:
        default = _FORGE if _numbers(release) >= _MOVED else _DEFAULT
        return True, f"server: {default}, since no base_url is set"
    fault = address_fault(url)
    if fault is not None:
        return False, f"base_url {fault}"
    return True, f"server: {url}"


def _answer(url: str, environ: Mapping[str, str]) -> Found:
    """Ask who is logged in; that needs no SDK. The key is that of this server, of no other."""
    environ = {**environ, "WANDB_BASE_URL": url}
    key = find_wandb_key(environ)
    body = json.dumps({"query": "query Viewer { viewer { id entity } }"}).encode()
    try:
        request = Request(  # noqa: S310 - W&B's own
            f"{url.rstrip('/')}/graphql", body, {"Content-Type": "application/json"}
        )
        if key is not None:
            word = base64.b64encode(f"api:{key.value}".encode()).decode()
            # wherever the server sends us on to, the key stays here
            request.add_unredirected_header("Authorization", f"Basic {word}")
        with urlopen(request, timeout=_TIMEOUT) as reply:  # noqa: S310 - as above
            viewer = (json.load(reply).get("data") or {}).get("viewer")
    except HTTPError as error:
        with error:
            if error.code in (401, 403):
                source = f" from {key.source}" if key is not None else ""
                return False, f"{url} refuses the login{source}; run: wandb login --relogin"
            return False, f"{url} answers with status {error.code}; ask again later"
    except (OSError, ValueError, AttributeError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else str(error).strip()
        cure = "look at base_url, the network and its proxy; what is recorded is delivered later"
        return False, f"{url} does not answer ({reason}); {cure}"
    if viewer is None:
        said = missing_wandb_login(environ) if key is None else "run: wandb login --relogin"
        return False, f"{url} answers, and knows no such login; {said}"
    entity = viewer.get("entity")
    return True, f"{url} answers; the login is that of {entity or 'an unknown entity'}"
