"""Artifacts of wandb get ids of their own, whatever the script seeds and forks.

Runs beside the wandb that is installed; ``make test-wandb-ids`` brings the two faulty kinds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nemotron.kit.wandb import (
    patch_wandb_init_for_lineage,
    patch_wandb_runid_for_seeded_random,
)

ROOT = Path(__file__).parents[2]

DRAW = """
import os, random, sys
from nemotron.kit.wandb import patch_wandb_runid_for_seeded_random as repair

when = sys.argv[1]
if when.startswith("before"):
    repair(), repair()
if when == "before init":
    import nemotron.kit as kit

    kit.init(root=sys.argv[2])
import wandb
from wandb.sdk.artifacts.artifact import Artifact
if when == "after":
    print(repair(), repair())


def ids():
    artifact = Artifact("a", type="model")
    return artifact._client_id, artifact._sequence_client_id


random.seed(7)
state = random.getstate()
first = ids()
print("stream kept", random.getstate() == state)
random.seed(7)
print("seed repeats", ids() == first)

found = []
for _ in range(2):
    read, write = os.pipe()
    if not os.fork():
        os.write(write, ids()[0].encode())
        os._exit(0)
    found.append(os.read(read, 1000))
    os.wait()
print("fork repeats", found[0] == found[1])
"""


def _version() -> tuple[int, ...] | None:
    try:
        from importlib.metadata import version

        return tuple(int(part) for part in version("wandb").split(".")[:2])
    except ImportError:
        return None


def _draw(when: str, store: Path | str = "") -> str:
    result = subprocess.run(
        [sys.executable, "-c", DRAW, when, store], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns"), "WANDB_MODE": "offline"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


needs_wandb = pytest.mark.skipif(_version() is None, reason="wandb is not installed")


@needs_wandb
def test_faults_are_where_they_are_said_to_be() -> None:
    said = _draw("never")
    assert ("seed repeats True" in said) == (_version() == (0, 23))
    assert ("fork repeats True" in said) == ((0, 24) <= (_version() or ()) < (0, 26))


@needs_wandb
@pytest.mark.parametrize("when", ["before", "before init", "after"])
def test_no_seed_and_no_fork_repeats_an_id(when: str, tmp_path: Path) -> None:
    said = _draw(when, tmp_path / "lineage.db")
    assert "seed repeats False" in said
    assert "fork repeats False" in said
    assert "stream kept True" in said


@needs_wandb
def test_nothing_is_done_where_wandb_is_right() -> None:
    said = _draw("after").splitlines()[0]
    is_right = (_version() or ()) >= (0, 26)
    assert ("applied" in said) != is_right


def test_without_wandb_it_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "wandb"]:
        monkeypatch.delitem(sys.modules, name)
    assert patch_wandb_runid_for_seeded_random() is None


@pytest.mark.skipif(_version() is not None, reason="wandb is installed")
def test_inputs_of_runs_that_cannot_be_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        patch_wandb_init_for_lineage(artifact_qualified_names=["art://tokens:v1"])
    (said,) = [each.message for each in caplog.records]
    assert "wandb is not installed; pip install wandb" in said
