"""Where the W&B key and the Hugging Face token are, looked up as their SDKs do, without them.

What cannot be read is one sentence in the explanation, never an exception: no submission fails
because of a broken file. No repr, explanation or error holds a value.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "Credential",
    "explain_hf",
    "explain_wandb",
    "find_hf_token",
    "find_wandb_key",
    "hf_token_file",
    "missing_wandb_login",
    "wandb_base_url",
    "wandb_netrc",
]

_KEY = "WANDB_API_KEY"
_IDENTITY = "WANDB_IDENTITY_TOKEN_FILE"
_UNREADABLE = "cannot be understood"
# W&B's own service: since 0.31 the SDK asks the first, and takes the entry of the second for it
_PUBLIC = ("api.forge.coreweave.com", "api.wandb.ai")
_FORGE = ("forge.coreweave.com", "api.forge.coreweave.com")
# what an SDK of whatever release is known to raise; wandb's own error comes on top
_SDK_FAULTS = (
    AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Credential:
    """A key or token, and where it was found. It prints without its value.

    Attributes:
        value: the secret itself.
        source: in words, e.g. ``~/.netrc for api.wandb.ai``.

    >>> Credential("not to be seen", "HF_TOKEN")
    Credential(source='HF_TOKEN')
    """

    value: str = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True)
class _Look:
    """One place that was looked at."""

    place: str
    found: str
    credential: Credential | None = None


def find_wandb_key(
    environ: Mapping[str, str] | None = None, *, ask_sdk: bool = False
) -> Credential | None:
    """Find the key that ``wandb login`` stored, or that the environment names.

    In this order: ``WANDB_API_KEY``; the netrc file (``NETRC``, ``~/.netrc``, ``~/_netrc``) by the
    host and port of the server, never its ``default`` entry; ``api_key`` of W&B's settings files;
    the SDK. With ``WANDB_IDENTITY_TOKEN_FILE`` there is no key: pass that variable on instead.
    Wherever the key is used, ``wandb_base_url`` belongs to it.

    Args:
        environ: the variables to go by; by default this process's own.
        ask_sdk: whether wandb may be imported to be asked last. Where it is imported already, it
            is asked in any case; for the environment of another process it never is.
    """
    return _first(_wandb(_Surroundings(environ), ask_sdk=ask_sdk))


def find_hf_token(
    environ: Mapping[str, str] | None = None, *, ask_sdk: bool = False
) -> Credential | None:
    """Find the token that ``hf auth login`` stored, or that the environment names.

    In this order: ``HF_TOKEN``, ``HUGGING_FACE_HUB_TOKEN``, the file ``HF_TOKEN_PATH`` (by default
    ``$HF_HOME/token``, in ``~/.cache/huggingface``), the SDK.

    Args:
        environ: as for ``find_wandb_key``.
        ask_sdk: whether huggingface_hub may be imported, as for ``find_wandb_key``.
    """
    return _first(_hf(_Surroundings(environ), ask_sdk=ask_sdk))


def wandb_base_url(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the address of the W&B server where one is set, else None: W&B's own service.

    ``WANDB_BASE_URL`` comes first, then ``base_url`` in ``./wandb/settings``, then that in
    ``$WANDB_CONFIG_DIR/settings`` (``~/.config/wandb/settings``).

    Args:
        environ: as for ``find_wandb_key``.
    """
    here = _Surroundings(environ)
    return _base_url(here, _wandb_settings(here)[0])[0] or None


def wandb_netrc(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the path of the netrc file that holds the key of the W&B server, or None.

    Args:
        environ: as for ``find_wandb_key``.
    """
    here = _Surroundings(environ)
    machines = _machines(_base_url(here, _wandb_settings(here)[0])[0])
    file, passwords, fault = _read_netrc(here)
    found = not fault and any(_entry("", machine, passwords).credential for machine in machines)
    return os.path.abspath(here.path(file)) if found else None


def hf_token_file(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the path of the file that ``hf auth login`` keeps the token in, or None.

    Args:
        environ: as for ``find_wandb_key``.
    """
    here = _Surroundings(environ)
    path = os.path.abspath(_hf_path(here))
    return path if os.path.isfile(path) else None


def explain_wandb(
    environ: Mapping[str, str] | None = None, *, ask_sdk: bool = False
) -> list[tuple[str, str]]:
    """Tell where ``find_wandb_key`` looked and what was there, without values.

    Args:
        environ: as for ``find_wandb_key``.
        ask_sdk: as for ``find_wandb_key``.

    Returns:
        (the place, what was found) in the order of the search, and the result as the last one.
    """
    here = _Surroundings(environ)
    missing = missing_wandb_login(environ)
    if here.get(_IDENTITY):
        missing = f"no key is needed: {_IDENTITY} stands for it"
    return _explain(_wandb(here, ask_sdk=ask_sdk), missing)


def explain_hf(
    environ: Mapping[str, str] | None = None, *, ask_sdk: bool = False
) -> list[tuple[str, str]]:
    """Tell where ``find_hf_token`` looked and what was there, without values.

    Args and returns: as ``explain_wandb``.
    """
    missing = "no Hugging Face token was found; run: hf auth login (or set HF_TOKEN)"
    return _explain(_hf(_Surroundings(environ), ask_sdk=ask_sdk), missing)


def missing_wandb_login(environ: Mapping[str, str] | None = None) -> str:
    """Return the sentence for a user who is not logged in to W&B.

    Args:
        environ: as for ``find_wandb_key``; a server of one's own is named.

    >>> missing_wandb_login({"WANDB_BASE_URL": "https://wandb.example.com"})
    'no W&B key was found; run: wandb login --host=https://wandb.example.com (or set WANDB_API_KEY)'
    """
    url = wandb_base_url(environ) or ""
    machines = _machines(url)
    host = "" if not machines or _PUBLIC[1] in machines else machines[0]
    where = f" --host={urlsplit(url).scheme}://{host}" if host else ""
    return f"no W&B key was found; run: wandb login{where} (or set {_KEY})"


class _Surroundings:
    """The variables and the home folder to go by."""

    def __init__(self, environ: Mapping[str, str] | None) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self.own = self.environ is os.environ
        self.home = self.environ.get("HOME") or os.path.expanduser("~")

    def get(self, name: str) -> str:
        return self.environ.get(name, "").strip()

    def path(self, path: str) -> str:
        below = path == "~" or path.startswith("~/")
        return self.home + path[1:] if below else os.path.expanduser(path)

    def show(self, path: str) -> str:
        return f"~{path[len(self.home) :]}" if path.startswith(f"{self.home}/") else path

    def variable(self, name: str) -> _Look:
        if value := self.get(name):
            return _Look(name, "set", Credential(value, name))
        return _Look(name, "blank" if name in self.environ else "not set")


def _first(looks: Iterator[_Look]) -> Credential | None:
    return next((look.credential for look in looks if look.credential), None)


def _explain(looks: Iterator[_Look], missing: str) -> list[tuple[str, str]]:
    rows, result = [], missing
    for look in looks:
        rows.append((look.place, look.found))
        if look.credential:
            result = f"used: {look.credential.source}"
            break
    return [*rows, ("result", result)]


def _wandb(here: _Surroundings, *, ask_sdk: bool) -> Iterator[_Look]:
    yield here.variable(_KEY)
    if token := here.get(_IDENTITY):
        there = os.path.isfile(here.path(token))
        yield _Look(_IDENTITY, "set" if there else "set, but there is no such file")
        return  # wandb looks no further either
    yield here.variable(_IDENTITY)
    settings, looks = _wandb_settings(here)
    yield from looks
    url, source = _base_url(here, settings)
    machines = _machines(url)
    wrong = "no address such as https://wandb.example.com"
    yield _Look(f"server, by {source}", " or ".join(machines) or wrong)
    file, passwords, fault = _read_netrc(here)
    if not machines or fault:
        yield _Look(file, fault or "not asked: no server is known")
    for machine in () if fault else machines:
        yield _entry(f"{file} for {machine}", machine, passwords)
    if value := settings.get("api_key"):
        yield _Look(value.source, "api_key is set", value)
    if any(found.startswith(_UNREADABLE) for found in (fault, *(look.found for look in looks))):
        yield _Look("wandb itself", "not asked: it prints what it cannot understand, maybe a key")
        return
    sdk = _ask(here, "wandb", lambda wandb: wandb.api.api_key, allowed=ask_sdk)
    if sdk.credential and sdk.credential.value == passwords.get("default"):
        sdk = _Look(sdk.place, "the default entry of netrc, which is not for W&B: not used")
    yield sdk


def _wandb_settings(here: _Surroundings) -> tuple[dict[str, Credential], list[_Look]]:
    """Read W&B's settings files: the values that may be secret, and what is to be told."""
    import configparser  # only where no key is in the environment

    local = ".wandb" if os.path.exists(".wandb") else "wandb"
    common = here.path(here.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    values: dict[str, Credential] = {}
    looks = []
    for folder in (local, common):
        path = os.path.join(folder, "settings")
        shown = here.show(path)
        parser = configparser.ConfigParser(interpolation=None)
        try:
            with open(path, encoding="utf-8") as file:
                parser.read_file(file)
        except FileNotFoundError:
            found = "not there"
        except OSError as error:
            found = f"cannot be read: {error.strerror}"
        except (configparser.Error, UnicodeDecodeError):  # their texts quote the file
            found = f"{_UNREADABLE}: it is no file of settings"
        else:
            section = parser["default"] if parser.has_section("default") else {}
            names = [name for name in ("api_key", "base_url") if section.get(name, "").strip()]
            found = f"sets {' and '.join(names)}" if names else "sets neither server nor key"
            for name in names:
                values.setdefault(name, Credential(section[name].strip(), shown))
        looks.append(_Look(shown, found))
    return values, looks


def _base_url(here: _Surroundings, settings: Mapping[str, Credential]) -> tuple[str, str]:
    """Return (the address or "", where it comes from)."""
    if url := here.get("WANDB_BASE_URL"):
        return url, "WANDB_BASE_URL"
    if "base_url" in settings:
        return settings["base_url"].value, settings["base_url"].source
    return "", "default"


def _machines(url: str) -> tuple[str, ...]:
    """Return the hosts, with their ports, whose entries in netrc are for this server."""
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ()
    if not url or host in _FORGE:
        return _PUBLIC
    return (host,) if host else ()


def _read_netrc(here: _Surroundings) -> tuple[str, dict[str, str], str]:
    """Return (the file, password by machine, what is wrong with it or "")."""
    from netrc import NetrcParseError, netrc  # only where no key is in the environment

    named = here.get("NETRC")
    for each in [named] if named else ["~/.netrc", "~/_netrc"]:
        path = here.path(each)
        shown = here.show(path)
        try:
            entries = netrc(path).hosts
        except FileNotFoundError:
            continue
        except OSError as error:
            return shown, {}, f"cannot be read: {error.strerror}"
        except NetrcParseError as error:  # its text quotes the file, maybe a password
            return shown, {}, f"{_UNREADABLE}, at or before line {error.lineno}"
        except UnicodeDecodeError:
            return shown, {}, f"{_UNREADABLE}: it is no text"
        return shown, {host: (entry[2] or "").strip() for host, entry in entries.items()}, ""
    return here.show(here.path(named or "~/.netrc")), {}, "not there"


def _entry(place: str, machine: str, passwords: Mapping[str, str]) -> _Look:
    # a server that is called "default" would get what is meant for none
    password = None if machine == "default" else passwords.get(machine)
    if password:
        return _Look(place, "found", Credential(password, place))
    if password is not None:
        return _Look(place, "an entry without a password")
    spared = " (the default entry is not for W&B)" if "default" in passwords else ""
    return _Look(place, f"no entry{spared}")


def _hf(here: _Surroundings, *, ask_sdk: bool) -> Iterator[_Look]:
    yield here.variable("HF_TOKEN")
    yield here.variable("HUGGING_FACE_HUB_TOKEN")
    path = _hf_path(here)
    shown = here.show(path)
    try:
        with open(path, encoding="utf-8") as file:
            token = "".join(file.read().split())
    except FileNotFoundError:
        yield _Look(shown, "not there")
    except OSError as error:
        yield _Look(shown, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        yield _Look(shown, "cannot be understood: it is no text")
    else:
        found = Credential(token, shown) if token else None
        yield _Look(shown, "found" if found else "empty", found)
    yield _ask(here, "huggingface_hub", lambda hub: hub.get_token(), allowed=ask_sdk)


def _hf_path(here: _Surroundings) -> str:
    cache = here.get("XDG_CACHE_HOME") or "~/.cache"
    folder = here.get("HF_HOME") or os.path.join(cache, "huggingface")
    return here.path(here.get("HF_TOKEN_PATH") or os.path.join(folder, "token"))


def _ask(
    here: _Surroundings, name: str, question: Callable[[Any], object], *, allowed: bool
) -> _Look:
    """Ask an SDK of this process; what it raises is told by its kind alone."""
    place = f"{name} itself"
    if not here.own:
        return _Look(place, "not asked: it only knows its own environment")
    if not allowed and sys.modules.get(name) is None:
        return _Look(place, "not asked: it is not imported")
    faults: tuple[type[BaseException], ...] = _SDK_FAULTS
    try:
        sdk = import_module(name)
        own = getattr(sdk, "Error", None)
        if isinstance(own, type) and issubclass(own, Exception):
            faults = (*faults, own)
        answer = question(sdk)
    except faults as error:
        return _Look(place, f"cannot tell: {type(error).__name__}")
    if isinstance(answer, str) and answer.strip():
        return _Look(place, "found", Credential(answer.strip(), place))
    return _Look(place, "nothing")
