"""The small files of a checkpoint are read without torch, and nothing in them is run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nemotron.kit.patches import nemo_rl
from nemotron.kit.patches.assets import Asset, asset, read_yaml
from nemotron.kit.patches.bridge_config import BridgeConfig
from nemotron.kit.patches.naming import artifact_name, experiment_name
from nemotron.kit.patches.nemo_rl_config import RLConfig, read_info
from nemotron.kit.patches.train_state import read_train_state
from nemotron.lineage import SourceURI

DATA = Path(__file__).parents[1] / "data"


def test_counters_of_a_real_checkpoint_are_read() -> None:
    assert read_train_state(DATA / "train_state-0.3.1.pt") == {
        "step": 6, "consumed_train_samples": 12, "skipped_train_samples": 0,
        "consumed_valid_samples": 0,
        "floating_point_operations_so_far": pytest.approx(6.134e7, rel=1e-3),
        "do_train": True, "do_valid": False, "do_test": False,
    }  # fmt: skip


class _Command:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/lineage-was-here",)


def _archive(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_state/data.pkl", content)
    return path


@pytest.mark.parametrize(
    "content", [pickle.dumps(_Command()), b"", b"\x80", pickle.dumps(io.BytesIO)]
)
def test_archive_that_holds_more_than_numbers_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match="is no train state"):
        read_train_state(_archive(tmp_path / "train_state.pt", content))


def test_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(ValueError, match="is no train state"):
        read_train_state(tmp_path / "x")


def test_what_is_no_counter_is_left_out(tmp_path: Path) -> None:
    content = pickle.dumps({"step": 3, "overflown": -5, "text": "x", "nan": float("nan")})
    found = read_train_state(_archive(tmp_path / "x", content))
    assert found["step"] == 3
    assert found.keys() == {"step", "nan"}


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("org/name", SourceURI("hf://org/name")),
        ("hf://org/name@main", SourceURI("hf://org/name", "main")),
        ("s3://bucket/key", SourceURI("s3://bucket/key")),
        ("/data/tokens", "/data/tokens"),
        (Path("/data/tokens"), "/data/tokens"),
        ("", None), (None, None), (7, None), ("https://me:pw@host/x", None),
    ],
)  # fmt: skip
def test_setting_names_a_path_or_an_asset_elsewhere(value: object, target: object) -> None:
    found = asset(value, "data")
    assert (found.target if found is not None else None) == target


@pytest.mark.parametrize("value", ["https://me:hunter22@host/x", "s3://bucket/a b"])
def test_address_that_cannot_be_recorded_is_told(
    value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert asset(value, "data") is None
    assert "an input (data) is not recorded: " in caplog.text
    assert "hunter22" not in caplog.text


def test_relative_path_that_is_there_is_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "tokens").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert asset("data/tokens", "data") == Asset(str(tmp_path / "data/tokens"), "data")


def test_blends_of_every_form_are_read() -> None:
    blend = {"blend": [["/a", "/b"], [3, 1]]}
    split = {"blend_per_split": [[["/a"], None], None, [["/c"], [1.0]]]}
    assert _assets(blend) == [("/a", 3.0, None), ("/b", 1.0, None)]
    assert _assets(split) == [("/a", None, "train"), ("/c", 1.0, "test")]
    assert _assets({"blend": None, "blend_per_split": "x"}) == []
    assert _assets({"dataset_root": "/d"}) == [("/d", None, None)]
    packed = {"packed_train_data_path": "/t", "packed_val_data_path": "/v"}
    assert _assets({"dataset_root": "/d", "packed_sequence_specs": packed}) == [
        ("/t", None, "train"), ("/v", None, "validation"),
    ]  # fmt: skip


def _assets(dataset: dict[str, Any]) -> list[tuple[object, float | None, str | None]]:
    found = BridgeConfig.read({"dataset": dataset, "train": {}}).assets
    return [(each.target, each.weight, each.split) for each in found]


def test_data_of_every_release_of_nemo_rl_is_found() -> None:
    old = {"data": {"train_data_path": "org/t", "val_data_path": "org/v", "dataset_name": "squad"}}
    new = {
        "data": {
            "train": [{"data_path": "org/t"}, {"dataset_name": "org/u"}],
            "validation": None,
            "val_data_paths": {"x": "org/v"},
        }
    }
    assert _rl(old) == [("hf://org/t", "train"), ("hf://org/v", "validation")]
    assert _rl(new) == [
        ("hf://org/t", "train"), ("hf://org/u", "train"), ("hf://org/v", "validation"),
    ]  # fmt: skip


def _rl(config: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(str(each.target), each.split) for each in RLConfig.read(config).assets]


def test_large_configuration_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run_config.yaml").write_text("a: 1\n" + "#" * (1 << 20))
    with pytest.raises(ValueError, match="more than 1,048,576 bytes"):
        read_yaml(str(tmp_path / "run_config.yaml"))
    assert read_yaml(str(tmp_path / "absent.yaml")) is None


def test_launchers_name_the_experiment() -> None:
    assert experiment_name({}) is None
    assert experiment_name({"NEMO_EXPERIMENT_ID": "sft_1731000000"}) == "sft"
    assert experiment_name({"SLURM_JOB_NAME": "wrap"}) is None
    assert experiment_name({"SLURM_JOB_NAME": "nano3-sft"}) == "nano3-sft"
    assert experiment_name({"WANDB_NAME": "w", "SLURM_JOB_NAME": "s"}, config="c") == "c"
    assert experiment_name({"WANDB_NAME": "w"}, run="r", config="c") == "r"


def test_where_nobody_can_say_who_has_a_name_the_folder_is_in_it(tmp_path: Path) -> None:
    folder = str(tmp_path / "exp7" / "checkpoints")
    name = artifact_name(folder, store="memory:")
    assert name.startswith("exp7-checkpoints-")
    assert name == artifact_name(folder, store="memory:")


def test_metrics_of_checkpoints_are_read_once_also_where_none_has_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def read(path: str) -> dict[str, Any]:
        reads.append(path)
        return read_info(path)

    monkeypatch.setattr(nemo_rl, "read_info", read)
    known, ranking = nemo_rl._RL(), nemo_rl._Ranking("val:accuracy", higher_is_better=True)
    for step in range(1, 6):
        (tmp_path / f"step_{step}").mkdir()
        (tmp_path / f"step_{step}" / "training_info.json").write_text("{}")
        assert nemo_rl._find_best(known, ranking, str(tmp_path), [step]) is None
    assert reads == [str(tmp_path / f"step_{step}") for step in range(1, 6)]
