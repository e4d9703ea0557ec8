"""Callbacks of a run."""

from types import SimpleNamespace
from typing import Any


class CallbackManager:
    """Keeps functions by the name of an event."""

    def __init__(self) -> None:
        self.functions: dict[str, list[Any]] = {}

    def register(self, event_name: str, fn: Any) -> None:
        """Keep a function."""
        self.functions.setdefault(event_name, []).append(fn)

    def fire(self, event_name: str, **facts: Any) -> None:
        """Call what was kept."""
        for function in self.functions.get(event_name, ()):
            function(SimpleNamespace(**facts))


def normalize_callbacks(callbacks: Any) -> CallbackManager | None:
    """Make a manager of a list; None stays None."""
    return None if callbacks is None else CallbackManager()
