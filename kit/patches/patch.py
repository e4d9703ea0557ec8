"""A patch as a value: which function is observed, of which releases, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Call", "Patch", "State", "Status"]


class State(StrEnum):
    """What became of a patch.

    ``applied``, ``waiting`` and ``already`` record; the others do not.
    """

    APPLIED = "applied"  # the wrapper is in place
    WAITING = "waiting"  # until the module is imported
    ALREADY = "already"  # it was in place, or nothing has to be put right
    ABSENT = "absent"  # not installed
    UNSUPPORTED = "unsupported"  # of a release that nobody looked at
    DRIFTED = "drifted"  # the function is not there, or has other parameters

    @property
    def is_live(self) -> bool:
        """Whether anything will be seen."""
        return self in (State.APPLIED, State.WAITING, State.ALREADY)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a patched function.

    Attributes:
        target: ``module:name`` of the function.
        args: as they were given.
        kwargs: as they were given.
        parameters: the names that the patch relies on, in order.
    """

    target: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    parameters: tuple[str, ...]

    def __getitem__(self, name: str) -> Any:
        """Return an argument by its name, however it was given; None when it was not."""
        if name in self.kwargs:
            return self.kwargs[name]
        at = self.parameters.index(name)
        return self.args[at] if at < len(self.args) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A function of somebody else that is observed. It runs once, as it was called.

    An observer's exception is logged and goes no further; what the function returns or raises is
    passed on untouched.

    Attributes:
        name: unique; also the mark on the wrapper.
        package: the package that has a version, e.g. ``megatron.bridge``.
        distribution: who ships it.
        install: how to get it.
        versions: the range that was read or run, e.g. ``>=0.2,<0.8``.
        target: ``module:function`` or ``module:Class.method``.
        otherwise: targets of the same module to take, in order, where there is no such one.
        parameters: leading parameters that the observers rely on.
        before: called with the call; what it returns is handed to ``after``.
        after: called with the call, that, and the result, unless the function raised.
        always: called with the call and what ``before`` returned, however the function ended.
        is_optional: it adds detail, and nobody is warned when it is not there.
        why: the sentence for humans.
        upstream: where the other side is described.
        remove_when: the condition under which this patch goes away.
    """

    name: str
    package: str
    distribution: str
    install: str
    versions: str
    target: str
    parameters: tuple[str, ...]
    why: str
    upstream: str
    remove_when: str
    otherwise: tuple[str, ...] = ()
    before: Callable[[Call], object] | None = None
    after: Callable[[Call, Any, Any], object] | None = None
    always: Callable[[Call, Any], object] | None = None
    is_optional: bool = False

    @property
    def module(self) -> str:
        """The module that has the function."""
        return self.target.partition(":")[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The functions to take, the first that is there: ``function`` or ``Class.method``."""
        return tuple(each.partition(":")[2] for each in (self.target, *self.otherwise))


@dataclass(frozen=True, slots=True)
class Status:
    """A patch, what became of it, and why.

    Attributes:
        patch: the patch.
        state: what became of it.
        reason: in one sentence.
    """

    patch: Patch
    state: State
    reason: str

    def __str__(self) -> str:
        """Return the line that a log or the doctor shows."""
        return f"{self.patch.name}: {self.state}, {self.reason}"
