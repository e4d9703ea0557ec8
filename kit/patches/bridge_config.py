"""What the ``run_config.yaml`` of a Megatron-Bridge checkpoint tells about its run."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .assets import Asset, asset, path_asset, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["BridgeConfig", "read_bridge_config"]

_SPLITS = ("train", "validation", "test")  # the order of blend_per_split
_PACKED = (("packed_train_data_path", "train"), ("packed_val_data_path", "validation"))


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """The part of a configuration that lineage needs.

    Attributes:
        save: the folder of the checkpoints, as configured.
        pretrained: the checkpoint that the model starts from, or None.
        finetune: whether counters and optimizer begin anew.
        non_persistent: the folder of global checkpoints that do not stay, or None.
        experiment: what the run is called for W&B, or None.
        is_conversion: no training: another form of a model was saved.
        sequence: tokens of a sample, or None.
        assets: data and tokenizer.
        facts: for the metadata of checkpoints.
    """

    save: str | None = None
    pretrained: str | None = None
    finetune: bool = False
    non_persistent: str | None = None
    experiment: str | None = None
    is_conversion: bool = False
    sequence: int | None = None
    assets: tuple[Asset, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def role(self, load_dir: str) -> str:
        """Say what a checkpoint was loaded for: ``resume`` or ``init``.

        Args:
            load_dir: the folder that it was loaded from.
        """
        loaded = _folder(load_dir)
        if self.save and loaded == _folder(self.save):
            return "resume"
        if self.pretrained and loaded == _folder(self.pretrained):
            return "init"
        return "init" if self.finetune else "resume"

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> BridgeConfig:
        """Read the mapping that the file holds."""
        checkpoint, dataset, model, tokenizer = (
            _section(config, name) for name in ("checkpoint", "dataset", "model", "tokenizer")
        )
        sequence = _first(dataset.get("seq_length"), dataset.get("sequence_length"),
                          model.get("seq_length"))  # fmt: skip
        train = _section(config, "train")
        facts = {
            "seq_length": sequence,
            "tokenizer": _first(tokenizer.get("tokenizer_model"), tokenizer.get("tokenizer_type")),
            "global_batch_size": train.get("global_batch_size"),
            "train_iters": train.get("train_iters"),
            "format": checkpoint.get("ckpt_format"),
            "mock_data": dataset.get("mock") or None,
            "peft": _kind(config.get("peft")),
        }
        return cls(
            save=_text(checkpoint.get("save")),
            pretrained=_text(checkpoint.get("pretrained_checkpoint")),
            finetune=bool(checkpoint.get("finetune")),
            non_persistent=_text(checkpoint.get("non_persistent_global_ckpt_dir")),
            experiment=_text(_section(config, "logger").get("wandb_exp_name")),
            is_conversion=config.get("train") is None,
            sequence=sequence if isinstance(sequence, int) else None,
            assets=tuple(each for each in _assets(dataset, tokenizer) if each is not None),
            facts={key: value for key, value in facts.items() if value is not None},
        )


def read_bridge_config(path: str) -> BridgeConfig | None:
    """Read the file, or return None when there is none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no YAML mapping, or too large for a hook.
    """
    found = read_yaml(path)
    return None if found is None else BridgeConfig.read(found)


def _assets(dataset: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> Iterator[Asset | None]:
    yield from _blend(dataset.get("blend"), None)
    for split, blend in zip(_SPLITS, dataset.get("blend_per_split") or (), strict=False):
        yield from _blend(blend, split)
    packed = _section(dataset, "packed_sequence_specs")
    chosen = [path_asset(packed.get(key), "data", split=split) for key, split in _PACKED]
    yield from chosen
    if not any(chosen):
        yield path_asset(dataset.get("dataset_root"), "data")
    yield asset(dataset.get("dataset_name"), "data", split=_text(dataset.get("split")))
    yield asset(tokenizer.get("tokenizer_model"), "tokenizer")


def _blend(blend: Any, split: str | None) -> Iterator[Asset | None]:
    """Read ``[[paths], [weights] or null]``."""
    if not isinstance(blend, (list, tuple)) or not blend or not isinstance(blend[0], (list, tuple)):
        return
    paths, weights = blend[0], blend[1] if len(blend) > 1 else None
    for at, path in enumerate(paths):
        weight = weights[at] if isinstance(weights, (list, tuple)) and at < len(weights) else None
        share = float(weight) if isinstance(weight, (int, float)) and weight > 0 else None
        yield path_asset(path, "data", weight=share, split=split)


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _kind(section: Any) -> str | None:
    """Return the class of a section, e.g. ``LoRA``."""
    target = section.get("_target_") if isinstance(section, dict) else None
    return target.rpartition(".")[2] if isinstance(target, str) else None


def _folder(path: str) -> str:
    """Return the folder of the checkpoints that a path means, without links."""
    real = os.path.realpath(path)
    return os.path.dirname(real) if os.path.basename(real).startswith("iter_") else real
