"""The kit stands on the public names of the lineage package, and costs nothing to import."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import nemotron.kit
import nemotron.lineage

from .test_layers import loaded_by

ROOT = Path(__file__).parents[2]
# From the bottom up, as in test_layers.py.
LAYERS = [
    ["config.schema", "config.masking"],
    ["config.remarks"],
    ["config.checking", "config.variables"],
    ["config.runconfig", "config.sections"],
    ["config.reading", "config.layers", "config.needs"],
    ["config.profiles"],
    ["config"],
    ["paths"],
    ["containers"],
    ["trackers", "session", "credentials"],
    ["artifacts.base"],
    ["artifacts.data", "artifacts.model"],
    ["artifacts"],
    ["resolvers"],
    ["patches", "patches.patch", "patches.imports", "patches.train_state", "patches.assets",
     "patches.naming", "patches.turns", "patches.hooks"],
    ["patches.source", "patches.bridge_config", "patches.nemo_rl_config"],
    ["patches.engine", "patches.megatron_bridge", "patches.nemo_rl", "patches.wandb_ids",
     "patches.wandb_init"],
    ["mirroring"],
    ["training"],
    ["patching"],
    ["wandb"],
    ["tracking", "train_script"],
    ["executors.quoting", "executors.classes", "executors.forms", "executors.sourced",
     "executors.store"],
    ["executors.environment", "executors.homes", "executors.packagers", "executors.tunnels",
     "executors.arguments"],
    ["executors.handover"],
    ["executors.building", "executors"],
    ["launching.outcome", "launching.guard", "launching.command", "launching.masks",
     "launching.inputs"],
    ["launching.following"],
    ["launching.slurm", "launching.attached", "launching.sweep"],
    ["launching.submission", "launching.ray"],
    ["launching.preview"],
    ["launching.launcher", "launching"],
    ["run", "cli_run", "wandb_checks"],
    ["cli"],
    [""],
]  # fmt: skip
RANK = {module: rank for rank, row in enumerate(LAYERS) for module in row}
# Third parties: where each may be known, and whether it is imported only when it is needed.
ALLOWED = {
    "pydantic": ({"artifacts.base", "artifacts.data", "artifacts.model"}, False),
    "omegaconf": ({"launching.inputs", "resolvers", "tracking", "training"}, True),
    "packaging": ({"patches.engine", "patches.wandb_ids"}, True),
    "ray": ({"launching.ray"}, True),
    "wandb": ({"wandb"}, True),
    "yaml": ({"launching.inputs", "patches.assets"}, True),
}
# Each of these logs with the traceback, and counts or goes on (STYLE 13).
SURVIVED = {"patches.engine", "patches.hooks", "patches.imports"}


def _modules() -> Iterator[tuple[str, Path, ast.Module]]:
    for path in sorted((ROOT / "kit").rglob("*.py")):
        parts = path.relative_to(ROOT / "kit").with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        yield name, path, ast.parse(path.read_text())


def test_every_module_has_its_layer() -> None:
    assert {name for name, _, _ in _modules()} == RANK.keys()


def test_imports_run_from_top_to_bottom() -> None:
    for name, path, tree in _modules():
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        for node in ast.walk(tree):
            if name and isinstance(node, ast.ImportFrom) and node.level:
                base = [part for part in package if part][: len(package) - node.level + 1]
                target = ".".join([*base, *(node.module or "").split(".")]).strip(".")
                for alias in node.names:
                    deeper = f"{target}.{alias.name}".strip(".")
                    found = deeper if deeper in RANK else target
                    # a slot for what is above, filled when it is asked for
                    typing_only = (name, found) in (
                        ("trackers", "artifacts.base"), ("session", "patches.engine"),
                        ("session", "patches.hooks"), ("session", "mirroring"),
                    )  # fmt: skip
                    assert RANK[found] <= RANK[name] or typing_only, f"{name} imports {found}"


def test_only_public_names_of_lineage_are_used() -> None:
    for name, _, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not any(each.name.startswith("nemotron.lineage.") for each in node.names)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nemotron"):
                assert node.module == "nemotron.lineage", f"{name} imports {node.module}"
                assert {each.name for each in node.names} <= set(nemotron.lineage.__all__), name


def test_third_parties_are_known_in_few_places() -> None:
    import sys

    for name, _, tree in _modules():
        top = {id(node) for node in tree.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found = [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found = [node.module or ""]
            else:
                continue
            for other in {each.partition(".")[0] for each in found} - sys.stdlib_module_names:
                if other == "nemotron":
                    continue
                places, lazy = ALLOWED[other]
                assert name in places, f"{name} imports {other}"
                assert not (lazy and id(node) in top), f"{name} imports {other} at once"


def test_no_error_is_swallowed_but_where_training_must_survive_us() -> None:
    found = set()
    for name, _, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "bare"
                assert caught not in ("BaseException", "bare"), name
                if caught == "Exception":
                    assert "_log.exception" in ast.unparse(node), name
                    found.add(name)
    assert found == SURVIVED


def test_importing_the_kit_loads_next_to_nothing() -> None:
    assert loaded_by("import nemotron.kit") == {"nemotron", "nemotron.kit"}


def test_the_kit_hands_out_what_it_says() -> None:
    names = nemotron.kit.__all__
    assert names == sorted(names)
    for name in names:
        assert not isinstance(getattr(nemotron.kit, name), ModuleType), name
    assert set(names) <= set(dir(nemotron.kit))
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        _ = nemotron.kit.nope  # type: ignore[attr-defined]  # that is the point


@pytest.mark.parametrize("name", sorted(RANK))
def test_all_is_true(name: str) -> None:
    module = importlib.import_module(f"nemotron.kit.{name}".rstrip("."))
    for each in module.__all__:
        assert getattr(module, each) is not None
