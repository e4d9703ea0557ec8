"""Many small questions to a disk: one after the other, or at once where each has to wait."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Waits"]

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

_LONG = 0.0003  # seconds for an answer that comes from elsewhere: a file server, a cold disk
_WORTH = 0.01  # seconds of such waiting that cost more than the threads do
_TOGETHER = 32  # questions at a time
_FEW = 16  # questions, after the first, until the time is looked at again


class Waits:
    """Asks about one item after the other; on a slow filesystem the waits overlap.

    It remembers how long the last answers took.
    """

    def __init__(self) -> None:
        self._last = 0.0

    def map(self, ask: Callable[[_Item], _Answer], items: Sequence[_Item]) -> Iterator[_Answer]:
        """Yield the answers in the order of the items; what a question raises is raised here."""
        at, some = 0, 1
        while left := len(items) - at:
            if self._last > _LONG and self._last * left > _WORTH:
                yield from self._together(ask, items[at:])
                return
            began = monotonic()
            answers = [ask(item) for item in items[at : at + some]]
            self._last = (monotonic() - began) / len(answers)
            yield from answers
            at, some = at + len(answers), _FEW

    def _together(
        self, ask: Callable[[_Item], _Answer], items: Sequence[_Item]
    ) -> Iterator[_Answer]:
        try:
            from concurrent.futures import ThreadPoolExecutor  # rarely needed
        except RuntimeError:  # the interpreter ends, and takes in no pools any more
            yield from map(ask, items)
            return

        def timed(item: _Item) -> _Answer:
            began = monotonic()
            answer = ask(item)
            self._last = monotonic() - began
            return answer

        with ThreadPoolExecutor(min(_TOGETHER, len(items))) as pool:
            for start in range(0, len(items), _TOGETHER):
                some = items[start : start + _TOGETHER]
                try:
                    answers = pool.map(timed, some)
                except RuntimeError:  # the interpreter ends, and starts no more threads
                    answers = map(ask, some)
                yield from answers
