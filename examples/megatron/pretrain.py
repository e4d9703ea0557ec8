"""Trains a tiny GPT with the real Megatron-Bridge on the CPU, tracked by one line.

    python pretrain.py SAVE [--iters 4] [--every 2] [--load DIR] [--pretrained DIR] [--keep K]
                       [--async-save] [--losses] [--data PREFIX] [--wandb]
                       [--raise-in-hook] [--kill-after-save]
    torchrun --nproc-per-node 2 pretrain.py SAVE

All but ``main`` is run again by the processes that saving spawns.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import shim

import nemotron.kit as kit

shim.install()  # in the processes that saving spawns, too

SEQUENCE = 32


def main() -> None:
    """Train as the words say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("save")
    parser.add_argument("--iters", type=int, default=4)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--load")
    parser.add_argument("--pretrained")
    parser.add_argument("--keep", type=int)
    parser.add_argument("--name")
    parser.add_argument("--data", help="prefix of a .bin and .idx, else made up")
    parser.add_argument("--async-save", action="store_true")
    parser.add_argument("--losses", action="store_true", help="an empty list of callbacks")
    parser.add_argument("--raise-in-hook", action="store_true")
    parser.add_argument("--kill-after-save", action="store_true", help="as the kernel would")
    parser.add_argument("--wandb", action="store_true")
    options = parser.parse_args()

    tracking = kit.track(name=options.name)
    if "megatron.bridge" in sys.modules:
        raise AssertionError("tracking imported Megatron-Bridge")
    shim.relax()
    from megatron.bridge.training.gpt_step import forward_step
    from megatron.bridge.training.pretrain import pretrain

    if options.raise_in_hook:
        _break_our_hook()
    if options.kill_after_save:
        _die_after_the_first_save()
    began = time.monotonic()
    pretrain(_config(options), forward_step, callbacks=[] if options.losses else None)
    states = {status.patch.name: str(status.state) for status in tracking.patches}
    print("STATES", json.dumps(states), f"{time.monotonic() - began:.1f} s", flush=True)


def _break_our_hook() -> None:
    from nemotron.kit.patches import hooks

    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    hooks.Hooks.write = broken  # type: ignore[method-assign]  # that is the point


def _die_after_the_first_save() -> None:
    from megatron.bridge.training.utils import wandb_utils

    hook = wandb_utils.on_save_checkpoint_success

    def last(*args: Any, **kwargs: Any) -> None:
        hook(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    wandb_utils.on_save_checkpoint_success = last


def _config(options: argparse.Namespace) -> Any:
    import torch
    from megatron.bridge.training import config as mb

    checkpoint: dict[str, Any] = {"async_save": options.async_save}
    if options.keep is not None:
        checkpoint["most_recent_k"] = options.keep
    if options.load:
        checkpoint |= {"load": options.load, "load_rng": False}  # no CUDA state to restore
    if options.pretrained:
        checkpoint |= {"pretrained_checkpoint": options.pretrained, "finetune": True}
    logger: dict[str, Any] = {"log_interval": 1}
    if options.wandb:
        logger |= {"wandb_project": "tiny", "wandb_exp_name": "tiny-run",
                   "wandb_save_dir": os.environ["WANDB_DIR"]}  # fmt: skip
    return mb.ConfigContainer(
        model=_tiny_gpt(torch),
        train=mb.TrainingConfig(
            train_iters=options.iters, global_batch_size=2, micro_batch_size=1,
            eval_interval=options.iters, eval_iters=1 if options.losses else 0,
        ),
        optimizer=mb.OptimizerConfig(
            optimizer="adam", lr=1e-3, min_lr=1e-5, use_distributed_optimizer=False, clip_grad=0.0
        ),
        scheduler=mb.SchedulerConfig(
            lr_decay_style="cosine", lr_decay_iters=max(options.iters, 2), lr_warmup_iters=1,
            start_weight_decay=0.01, end_weight_decay=0.01, weight_decay_incr_style="constant",
            override_opt_param_scheduler=True,
        ),
        ddp=mb.DistributedDataParallelConfig(
            use_distributed_optimizer=False, overlap_grad_reduce=False,
            overlap_param_gather=False, average_in_collective=False,
        ),
        dist=mb.DistributedInitConfig(distributed_backend="gloo", use_gloo_process_groups=True),
        dataset=_data(mb, options.data),
        tokenizer=mb.TokenizerConfig(tokenizer_type="NullTokenizer", vocab_size=256),
        logger=mb.LoggerConfig(**logger),
        rng=mb.RNGConfig(seed=7),
        checkpoint=mb.CheckpointConfig(
            save=options.save, save_interval=options.every, ckpt_format="torch_dist",
            fully_parallel_save=False, **checkpoint,
        ),
    )  # fmt: skip


def _tiny_gpt(torch: Any) -> Any:
    """Two layers, 26,368 parameters, every fused kernel off."""
    from megatron.bridge.models.gpt_provider import GPTModelProvider
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec

    fused = (
        "apply_rope_fusion", "bias_activation_fusion", "bias_dropout_fusion",
        "cross_entropy_loss_fusion", "gradient_accumulation_fusion", "masked_softmax_fusion",
        "persist_layer_norm",
    )  # fmt: skip
    return GPTModelProvider(
        num_layers=2, hidden_size=32, num_attention_heads=4, ffn_hidden_size=64,
        **dict.fromkeys(fused, False), seq_length=SEQUENCE, vocab_size=None,
        transformer_layer_spec=lambda _: get_gpt_layer_local_spec(), params_dtype=torch.float32,
        pipeline_dtype=torch.float32, bf16=False, attention_dropout=0.0, hidden_dropout=0.0,
    )  # fmt: skip


def _data(mb: Any, prefix: str | None) -> Any:
    common = {
        "seq_length": SEQUENCE, "random_seed": 7, "dataloader_type": "single",
        "reset_position_ids": False, "reset_attention_mask": False, "eod_mask_loss": False,
        "num_workers": 0, "pin_memory": False,
    }  # fmt: skip
    if prefix is None:
        return mb.MockGPTDatasetConfig(**common)
    return mb.GPTDatasetConfig(**common, blend=([prefix], [1.0]), split="90,5,5")


if __name__ == "__main__":
    main()
