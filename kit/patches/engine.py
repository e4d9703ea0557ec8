"""Puts patches in place and takes them back: observes, never replaces, never guesses."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import threading
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from .imports import ImportWatch
from .patch import Call, Patch, State, Status
from .source import find_module, installed_version, read_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType, TracebackType

__all__ = ["Patcher", "look"]

_log = logging.getLogger(__name__)

_MARK = "__lineage_patch__"
_observing = threading.local()


class _Switch:
    """Whether a wrapper observes, for which patch, and how often its observers failed."""

    def __init__(self, patch: Patch) -> None:
        self.patch, self.is_on, self.failures = patch, True, 0


@dataclass(slots=True)
class _Applied:
    """What was put where, and what was there before."""

    owner: Any  # a module or class
    attribute: str
    before: Any  # the very object of vars(owner), or _NOTHING
    wrapper: Any  # None where another patcher put it there
    switch: _Switch


_NOTHING = object()


class Patcher:
    """Applies patches and reverts them; revert puts the very objects back.

    Safe in threads. Closing it reverts everything; it is a context manager.
    """

    def __init__(self) -> None:
        self._applied: dict[str, _Applied] = {}
        self._statuses: dict[str, Status] = {}
        self._told: set[str] = set()  # what was warned of
        self._watch = ImportWatch()
        self._begin()

    def _begin(self) -> None:
        self._pid, self._lock = os.getpid(), threading.RLock()

    def apply(self, patch: Patch, *, asked: bool = False) -> Status:
        """Put a patch in place, or have it wait for its module.

        Args:
            patch: applied twice, it is applied once.
            asked: the user asked for just this, and is warned when nothing will be seen.
        """
        _wait_for_import(patch.module)  # its thread may wait for our lock
        with self._own_lock():
            status = self._apply(patch, asked=asked)
            self._note(status, asked=asked)
            return status

    def statuses(self) -> tuple[Status, ...]:
        """Return what became of each patch so far."""
        with self._own_lock():
            return tuple(self._statuses.values())

    def failures(self, patch: Patch) -> int:
        """Return how often the observers of a patch raised."""
        with self._own_lock():
            applied = self._applied.get(patch.name)
            return applied.switch.failures if applied is not None else 0

    def revert(self, patch: Patch) -> None:
        """Take a patch back. Where somebody patched over it, it stays and observes nothing."""
        with self._own_lock():
            applied = self._applied.get(patch.name)
            self._statuses.pop(patch.name, None)
            if applied is None:
                return
            applied.switch.is_on = False
            if vars(applied.owner).get(applied.attribute) is not applied.wrapper:
                _log.info(
                    "%s was patched by somebody else after %s; ours stays below and sees nothing",
                    applied.attribute, patch.name,
                )  # fmt: skip
                return  # it is remembered: applied again, it is reverted again
            del self._applied[patch.name]
            if applied.before is _NOTHING:
                delattr(applied.owner, applied.attribute)
            else:
                setattr(applied.owner, applied.attribute, applied.before)

    def close(self) -> None:
        """Revert everything and await nothing. Closing twice is harmless."""
        with self._own_lock():
            self._watch.close()
            for status in tuple(self._statuses.values()):
                self.revert(status.patch)

    def __enter__(self) -> Self:
        """Return the patcher itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Revert everything."""
        self.close()

    def _own_lock(self) -> threading.RLock:
        if self._pid != os.getpid():  # a thread of the parent may have held it at the fork
            self._begin()
        return self._lock

    def _apply(self, patch: Patch, *, asked: bool) -> Status:
        loaded = sys.modules.get(patch.module)  # None also where somebody forbade the import
        if loaded is not None:
            return self._put(patch, loaded)
        known = self._statuses.get(patch.name)
        if known is not None and known.state is State.WAITING:
            return known
        status = _await(patch)
        if status.state is State.WAITING:

            def act(module: ModuleType) -> None:
                with self._own_lock():
                    known = self._statuses.get(patch.name)
                    if known is not None and known.patch is patch:  # else it was taken back
                        self._note(self._put(patch, module), asked=asked)

            self._watch.when_imported(patch.module, act)
        return status

    def _put(self, patch: Patch, module: ModuleType) -> Status:
        """Wrap the function of a module that is imported."""
        found = _find_target(patch, module)
        if found is None:
            return _lacks(patch, f"there is no {' or '.join(patch.names)}")
        owner, attribute, name = found
        raw = inspect.getattr_static(owner, attribute)
        function = raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw
        switch = _switch_of(function, patch.name)
        if switch is not None:
            if switch.is_on:
                return Status(patch, State.ALREADY, f"{name} is observed")
            switch.patch, switch.is_on = patch, True  # it may be another one of the name
            # it lies below a foreign one, and a patcher that was closed may have put it there
            below = _Applied(owner, attribute, _NOTHING, None, switch)
            self._applied.setdefault(patch.name, below)
            return Status(patch, State.APPLIED, f"{name} is observed")
        refusal = _refuse(patch, name, _parameters(function))
        if refusal is not None:
            return refusal
        switch = _Switch(patch)
        wrapper: Any = _wrap(f"{patch.module}:{name}", function, switch)
        if isinstance(raw, (staticmethod, classmethod)):
            wrapper = type(raw)(wrapper)
        before = vars(owner).get(attribute, _NOTHING)
        setattr(owner, attribute, wrapper)
        self._applied[patch.name] = _Applied(owner, attribute, before, wrapper, switch)
        return Status(patch, State.APPLIED, f"{name} is observed{_overridden(owner, attribute)}")

    def _note(self, status: Status, *, asked: bool) -> None:
        """Log what is new; that nothing is recorded is a warning to who asked for it, once."""
        patch, known = status.patch, self._statuses.get(status.patch.name)
        is_new = known != status and (known is None or status.state is not State.ALREADY)
        if is_new:
            self._statuses[patch.name] = status
        level, said = logging.DEBUG, str(status)
        if status.state is State.APPLIED:
            level = logging.INFO
        elif not status.state.is_live and not patch.is_optional:
            said = _silence(status)
            if (asked or status.state is not State.ABSENT) and said not in self._told:
                level = logging.WARNING
                self._told.add(said)
        if is_new or level == logging.WARNING:
            _log.log(level, "%s", said)


def _wait_for_import(module: str) -> None:
    """Wait for another thread that is in the middle of an import."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    if not getattr(spec, "_initializing", False):
        return
    try:
        import_module(module)  # where it fails there, it is tried here once more
    except Exception:  # noqa: BLE001 - training must survive us
        _log.exception("%s cannot be imported", module)


def _silence(status: Status) -> str:
    """Say what is not recorded, why, and what to do: in one sentence for all that it holds for."""
    patch = status.patch
    subject = patch.name if status.state is State.DRIFTED else patch.distribution
    said = f"nothing is recorded by {subject}: {status.state}, {status.reason}"
    if status.state is State.ABSENT:  # its reason says what to install
        return said
    return f"{said}. Take a release that is known ({patch.versions}), or a newer nemotron-lineage"


def look(patch: Patch) -> Status:
    """Say what would become of a patch, by the framework's source and without importing it."""
    module = sys.modules.get(patch.module)
    if module is not None:
        found = _find_target(patch, module)
        if found is not None:
            function = inspect.unwrap(getattr(found[0], found[1]))
            refusal = _refuse(patch, found[2], _parameters(function))
            return refusal or Status(patch, State.APPLIED, f"{found[2]} can be observed")
        return _lacks(patch, f"there is no {' or '.join(patch.names)}")
    status = _await(patch)
    if status.state is not State.WAITING:
        return status
    for name in patch.names:
        parameters = read_parameters(patch.module, name)
        if parameters is not None:
            refusal = _refuse(patch, name, parameters)
            version = installed_version(patch.package, patch.distribution) or "no version"
            said = f"{name} is observed when {patch.module} is imported ({version})"
            return refusal or Status(patch, State.WAITING, said)
    return _lacks(patch, f"there is no {' or '.join(patch.names)}")


def _await(patch: Patch) -> Status:
    """Say whether a module that is not imported can be waited for."""
    if find_module(patch.module) is None:
        if find_module(patch.package) is None:
            reason = f"{patch.package} is not installed; {patch.install}"
            return Status(patch, State.ABSENT, reason)
        return _lacks(patch, f"{patch.package} has no module {patch.module}")
    return _refuse_version(patch) or Status(
        patch, State.WAITING, f"takes effect when {patch.module} is imported"
    )


def _lacks(patch: Patch, reason: str) -> Status:
    """Say that what is to be observed is not there; an unknown release explains it better."""
    return _refuse_version(patch) or Status(patch, State.DRIFTED, reason)


def _refuse(patch: Patch, name: str, parameters: tuple[str, ...]) -> Status | None:
    """Say why a function cannot be observed, or None when it can."""
    refusal = _refuse_version(patch)
    if refusal is None and parameters[: len(patch.parameters)] != patch.parameters:
        reason = (
            f"{name} takes ({', '.join(parameters)}), and ({', '.join(patch.parameters)}, ...) "
            "was expected"
        )
        return Status(patch, State.DRIFTED, reason)
    return refusal


def _refuse_version(patch: Patch) -> Status | None:
    """Say why a release is not known; where nobody tells the version, the signature decides."""
    from packaging.specifiers import SpecifierSet  # only where something is patched
    from packaging.version import InvalidVersion, Version

    version = installed_version(patch.package, patch.distribution)
    try:
        known = version is None or SpecifierSet(patch.versions).contains(
            Version(version), prereleases=True
        )
    except InvalidVersion:
        known = True
    if known:
        return None
    reason = f"{patch.distribution} {version} is installed, and {patch.versions} is known"
    return Status(patch, State.UNSUPPORTED, reason)


def _find_target(patch: Patch, module: ModuleType) -> tuple[Any, str, str] | None:
    """Return (owner, attribute, name) of the first target that is there."""
    for name in patch.names:
        *classes, attribute = name.split(".")
        owner: Any = module
        for each in classes:
            owner = getattr(owner, each, None)
        if owner is not None and callable(getattr(owner, attribute, None)):
            return owner, attribute, name
    return None


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # compiled, without a signature
        return ()


def _switch_of(function: Any, name: str) -> _Switch | None:
    """Return the switch of our wrapper, if it is this function or one that it wraps."""
    while function is not None:
        switch = vars(function).get(_MARK) if hasattr(function, "__dict__") else None
        if isinstance(switch, _Switch) and switch.patch.name == name:
            return switch
        function = getattr(function, "__wrapped__", None)
    return None


def _overridden(owner: Any, attribute: str) -> str:
    """Name the subclasses whose own method is out of reach."""
    if not isinstance(owner, type):
        return ""
    below = [each for each in _below(owner) if attribute in vars(each)]
    names = sorted(each.__qualname__ for each in below)
    return f"; {', '.join(names)} has its own and is not" if names else ""


def _below(owner: type[Any]) -> Iterator[type[Any]]:
    for each in owner.__subclasses__():
        yield each
        yield from _below(each)


def _wrap(target: str, original: Callable[..., Any], switch: _Switch) -> Callable[..., Any]:
    @functools.wraps(original)
    def observed(*args: Any, **kwargs: Any) -> Any:
        if not switch.is_on or getattr(_observing, "is_on", False):
            return original(*args, **kwargs)
        patch = switch.patch
        call = Call(target, args, kwargs, patch.parameters)
        token = _observe(switch, patch.before, call)
        try:
            result = original(*args, **kwargs)
            _observe(switch, patch.after, call, token, result)
            return result
        finally:
            _observe(switch, patch.always, call, token)

    setattr(observed, _MARK, switch)
    return observed


def _observe(switch: _Switch, observer: Callable[..., object] | None, *facts: Any) -> object:
    """Call an observer; whatever happens in it, training goes on."""
    if observer is None:
        return None
    _observing.is_on = True  # what an observer calls is not observed
    try:
        return observer(*facts)
    except Exception:  # noqa: BLE001 - training must survive us
        switch.failures += 1
        _log.exception("the observer %s failed; training goes on", switch.patch.name)
        return None
    finally:
        _observing.is_on = False
