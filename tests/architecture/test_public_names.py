"""What a package says is public is what it hands out."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import pytest

import nemotron.lineage

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(nemotron.lineage.__path__, "nemotron.lineage.")
    if not name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_all_is_true(name: str) -> None:  # ruff keeps it sorted
    module = importlib.import_module(name)
    for each in getattr(module, "__all__", []):
        assert getattr(module, each) is not None


def test_package_hands_out_what_it_says() -> None:
    names = nemotron.lineage.__all__
    assert names == ["__version__", *sorted(names[1:])]
    for name in names:
        value = getattr(nemotron.lineage, name)
        assert not isinstance(value, ModuleType), name
    assert set(names) <= set(dir(nemotron.lineage))
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        _ = nemotron.lineage.nope  # type: ignore[attr-defined]  # that is the point


def test_every_error_is_public_and_drawn() -> None:
    from nemotron.lineage import errors

    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    drawn = errors.__doc__ or ""
    for kind in kinds:
        assert kind.__name__ in errors.__all__
        assert kind.__name__ in drawn
        assert kind.__name__ in nemotron.lineage.__all__
