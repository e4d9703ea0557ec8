"""Saves, loads and deletes folders as the real one does, and in its order."""

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import yaml
from megatron.bridge.training.utils import wandb_utils


def save_checkpoint(
    state: Any, step: int, *, save_dir: str | None = None, told: int | None = None,
    writer: Any = None,
) -> None:  # fmt: skip
    """Write a folder, then tell the hook, then delete what retention does not keep."""
    checkpoint = state.cfg.checkpoint
    save_dir = save_dir or checkpoint.save
    name = os.path.join(save_dir, f"iter_{step:07d}")
    Path(name).mkdir(parents=True, exist_ok=True)
    (Path(name) / ".metadata").write_bytes(os.urandom(16))
    (Path(name) / "__0_0.distcp").write_bytes(b"w" * 1000)
    (Path(name) / "metadata.json").write_text('{"sharded_backend": "torch_dist"}')
    (Path(name) / "run_config.yaml").write_text(yaml.safe_dump(state.config))
    if state.train_state:
        shutil.copy(state.train_state, Path(name) / "train_state.pt")
    wandb_utils.on_save_checkpoint_success(
        name, save_dir, step if told is None else told, wandb_writer=writer
    )
    if checkpoint.most_recent_k > -1:
        cleanup_old_non_persistent_checkpoint(
            save_dir, leave_ckpt_num=checkpoint.most_recent_k, do_async=checkpoint.async_save
        )


def _load_checkpoint_from_path(load_dir: str, state: Any, step: int) -> None:
    wandb_utils.on_load_checkpoint_success(
        os.path.join(load_dir, f"iter_{step:07d}"), load_dir, None
    )


def load_checkpoint(state: Any, step: int) -> None:
    """Load from where the configuration says."""
    checkpoint = state.cfg.checkpoint
    load_dir = checkpoint.load
    if load_dir is None or not os.path.isdir(load_dir):
        load_dir = checkpoint.pretrained_checkpoint
        checkpoint.finetune = True
    _load_checkpoint_from_path(load_dir, state, step)


def cleanup_old_non_persistent_checkpoint(
    save_dir: str,
    leave_ckpt_num: int = 1,
    do_async: bool = False,  # noqa: FBT001, FBT002 - as the real one
) -> None:
    """Keep the newest folders."""
    found = sorted(Path(save_dir).rglob("iter_*"), key=lambda path: int(path.name[5:]))

    def remove() -> None:
        for path in found[: max(0, len(found) - leave_ckpt_num)]:  # 0 keeps none, since 0.6
            shutil.rmtree(path)

    if do_async:
        threading.Thread(target=remove).start()
    else:
        remove()
