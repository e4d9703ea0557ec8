"""Acts right after a module was imported, before anybody else sees what is in it.

No framework is imported in order to patch it: Megatron-Bridge costs ten seconds. A finder in front
of ``sys.meta_path`` has the loader of an awaited module say when it is done.
"""

from __future__ import annotations

import logging
import sys
import threading
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["ImportWatch"]

_log = logging.getLogger(__name__)


class ImportWatch(MetaPathFinder):
    """Calls actions when their modules are imported. Close it to take it out of the way."""

    def __init__(self) -> None:
        self._actions: dict[str, list[Callable[[ModuleType], object]]] = {}
        self._searching = threading.local()

    def when_imported(self, module: str, action: Callable[[ModuleType], object]) -> None:
        """Have an action called with a module once it is imported; what it raises is logged."""
        self._actions.setdefault(module, []).append(action)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def close(self) -> None:
        """Await nothing any more."""
        self._actions.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Find an awaited module as everybody else does, and have its loader say when it ran."""
        if fullname not in self._actions or getattr(self._searching, "name", None) == fullname:
            return None
        self._searching.name = fullname  # another watch may ask us in turn
        try:
            spec = self._ask_the_others(fullname, path, target)
        finally:
            self._searching.name = None
        if spec is not None:
            self._listen(fullname, spec)
        return spec

    def _ask_the_others(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            search = getattr(finder, "find_spec", None)
            if search is not None and finder is not self:
                spec: ModuleSpec | None = search(fullname, path, target)
                if spec is not None:
                    return spec
        return None

    def _listen(self, fullname: str, spec: ModuleSpec) -> None:
        """Wrap the loader's ``exec_module`` for one import of one module."""
        loader = spec.loader
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            return

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if module.__name__ == fullname:  # an archive has one loader for all its modules
                vars(loader).pop("exec_module", None)
                self._act(module)

        try:
            loader.exec_module = exec_module  # type: ignore[union-attr, method-assign]  # it has one
        except AttributeError:
            _log.warning("%r does not say when %s is imported", loader, fullname)

    def _act(self, module: ModuleType) -> None:
        for action in self._actions.pop(module.__name__, []):
            try:
                action(module)
            except Exception:  # noqa: BLE001 - the import is the host's, and must survive us
                _log.exception("what waited for %s failed", module.__name__)
