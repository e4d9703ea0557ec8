"""Reads a framework's source to see what is there, without importing it."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from .imports import ImportWatch

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

__all__ = ["find_module", "installed_version", "read_parameters"]


def find_module(name: str) -> ModuleSpec | None:
    """Find a module and the packages it is in, without running any of them.

    Returns:
        None when it is not installed.
    """
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__spec__ is not None:
        return loaded.__spec__
    path: list[str] | None = None
    spec = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        spec = _find(".".join(parts[:depth]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return spec


def _find(name: str, path: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        search = getattr(finder, "find_spec", None)
        if search is not None and not isinstance(finder, ImportWatch):
            spec: ModuleSpec | None = search(name, path)
            if spec is not None:
                return spec
    return None


def read_parameters(module: str, name: str) -> tuple[str, ...] | None:
    """Read the names of a function's parameters from the source of the module that has it.

    Args:
        module: dotted name.
        name: ``function`` or ``Class.method``.

    Returns:
        None when there is no such function, or no source.
    """
    spec = find_module(module)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    body = ast.parse(Path(spec.origin).read_bytes()).body
    for each in body:
        if isinstance(each, ast.ImportFrom) and each.module and not each.level:
            copies = {alias.asname or alias.name: alias.name for alias in each.names}
            if name in copies:
                return read_parameters(each.module, copies[name])
    node: ast.AST | None = None
    for part in name.split("."):
        node = next((each for each in body if getattr(each, "name", None) == part), None)
        body = getattr(node, "body", [])
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    given = node.args
    return tuple(each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs))


def installed_version(package: str, name: str) -> str | None:
    """Return the version of a package: what it says of itself, else what its distribution says.

    Args:
        package: e.g. ``nemo_rl``.
        name: of the distribution, e.g. ``nemo-rl``.

    Returns:
        None when neither says anything of the package that would be imported: a checkout on
        PYTHONPATH has no distribution, and an empty placeholder may go by its name.
    """
    for module in (package, f"{package}.package_info"):
        version = getattr(sys.modules.get(module), "__version__", None)
        if isinstance(version, str):
            return version
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    listed = {str(file) for file in found.files or ()}
    folder = package.replace(".", "/") + "/"
    is_editable = any(each.endswith(".pth") or "__editable__" in each for each in listed)
    if is_editable or any(each.startswith(folder) for each in listed):
        return found.version
    return None
