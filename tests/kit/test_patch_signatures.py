"""The patches fit every release that they claim; the tables come from the releases themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from nemotron.kit.patches import megatron_bridge, nemo_rl
from nemotron.kit.patches.patch import Patch

TABLES = Path(__file__).parents[1] / "data" / "signatures"
# where the patched module takes the function from, when it is not its own
HOMES = {"megatron.bridge.training.pretrain": "megatron.bridge.training.callbacks"}


def _cases() -> list[tuple[Patch, str, dict[str, list[str] | None]]]:
    found = []
    for framework, patches in (("megatron_bridge", megatron_bridge), ("nemo_rl", nemo_rl)):
        table = json.loads((TABLES / f"{framework}.json").read_text())
        found += [(p, release, table[release]) for p in patches.PATCHES for release in table]
    return found


@pytest.mark.parametrize(
    ("patch", "release", "table"), _cases(), ids=lambda each: getattr(each, "name", None)
)
def test_patch_fits_the_release(
    patch: Patch, release: str, table: dict[str, list[str] | None]
) -> None:
    module = HOMES.get(patch.module, patch.module)
    found = [table[f"{module}:{name}"] for name in patch.names]
    taken = next((each for each in found if each is not None), None)
    is_known = not release.startswith("v") or release.removeprefix("v") in SpecifierSet(
        patch.versions
    )
    if taken is None:
        assert not is_known, f"{patch.name} claims {release}, which has no {patch.names}"
    else:
        assert tuple(taken[: len(patch.parameters)]) == patch.parameters


def test_newer_nemo_rl_is_told_by_its_method_and_not_by_its_version() -> None:
    table = json.loads((TABLES / "nemo_rl.json").read_text())
    renames = {
        release: found["nemo_rl.utils.checkpoint:CheckpointManager._rename_checkpoint"]
        for release, found in table.items()
    }
    assert [release for release, found in renames.items() if found] == ["7ea279abf"]
