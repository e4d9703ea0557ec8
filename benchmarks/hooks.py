"""How long does a save hold training, with the hooks in place?

    python benchmarks/hooks.py [saves]

A checkpoint as Megatron-Bridge writes it (64 shards, its small files) is reported by the hook that
Megatron-Bridge calls, with the patch applied; the time is what the training thread spends in it.
Beside it, what Megatron-Bridge itself does for W&B: an artifact with a reference, logged offline
(an environment is made for it and thrown away). Also beside threads that keep the interpreter busy:
there, most of the time is waiting for its lock. And where a file server takes a while to tell the
size of each file: asked one after the other, 64 shards would take 64 times as long.

The network is out of reach for both: W&B is offline, and a hook of ours never asks it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common import ROOT, folder, in_turn, report

from nemotron.lineage import listing

WANDB = "wandb==0.31.0"
_ANSWER = 0.0005  # seconds
STANDIN = ROOT / "tests" / "kit" / "standin"
DATA = ROOT / "tests" / "data"


def main(saves: int) -> None:
    """Measure in an environment with wandb."""
    with tempfile.TemporaryDirectory() as place:
        python = Path(place) / "bin" / "python"
        venv.create(place, with_pip=True)
        needs = [WANDB, "blake3", "omegaconf>=2.4", "packaging", "pydantic"]
        install = [python, "-m", "pip", "install", "--quiet", *needs]
        if subprocess.run(install, check=False).returncode:
            print(f"NOT MEASURED: {WANDB} cannot be installed here")
            return
        subprocess.run([python, __file__, "--measure", str(saves)], check=True)


def _measure(saves: int) -> None:
    with folder() as place:
        os.environ |= {"LINEAGE_STORE": str(place / "lineage.db"), "WANDB_MODE": "offline",
                       "WANDB_SILENT": "true", "WANDB_DIR": str(place)}  # fmt: skip
        checkpoints = place / "ckpts" / "nano3"
        total = 2 * saves + 3 * (saves // 5) + 60
        for step in range(total):
            _checkpoint(checkpoints / f"iter_{step:07d}", step)
        steps = iter(range(total))
        hook = {"the hook, with lineage": _hook(checkpoints, steps)}
        in_turn(hook, 20)
        report(f"{saves} saves", in_turn(hook, saves), *hook)
        with _slow_sizes():
            times = in_turn(hook, saves // 5)
        report(f"where a file server takes {_ANSWER * 1e3:g} ms to tell a size", times, *hook)

        variants = {**hook, "W&B's log_artifact, offline": _wandb(checkpoints)}
        in_turn(variants, 20)
        for busy in (0, 1, 2):
            with _beside(busy):
                times = in_turn(variants, saves if not busy else saves // 5)
            report(f"in turn, beside {busy} busy threads", times, *hook)
        from nemotron import kit

        kit.end_run()


def _hook(folder: Path, steps: Iterator[int]) -> Callable[[int], object]:
    sys.path.insert(0, str(STANDIN))
    from megatron.bridge.training.utils import wandb_utils

    from nemotron import kit

    kit.track(name="bench")

    def save(_: int) -> None:
        path = f"{folder}/iter_{next(steps):07d}"
        wandb_utils.on_save_checkpoint_success(path, str(folder), 0, None)

    return save


def _wandb(folder: Path) -> Callable[[int], object]:
    import wandb

    run = wandb.init(project="bench")

    def save(at: int) -> None:
        artifact = wandb.Artifact("nano3", type="model", metadata={"iteration": at})
        artifact.add_reference(f"file://{folder}/iter_{at:07d}", checksum=False)
        run.log_artifact(artifact, aliases=[f"iter_{at:07d}"])

    return save


def _checkpoint(place: Path, step: int) -> None:
    place.mkdir(parents=True)
    for shard in range(64):
        with (place / f"__{shard}_0.distcp").open("wb") as file:
            file.truncate(2 << 20)
    (place / ".metadata").write_bytes(os.urandom(34_000))
    (place / "common.pt").write_bytes(b"c" * 2530)
    (place / "metadata.json").write_text(f'{{"step": {step}}}')
    lines = "".join(f"  key_{n}: {n}\n" for n in range(600))
    (place / "run_config.yaml").write_text(f"train: {{train_iters: 10}}\nmodel:\n{lines}")
    shutil.copy(DATA / "train_state-0.3.1.pt", place / "train_state.pt")


@contextmanager
def _slow_sizes() -> Iterator[None]:
    """Have each question for the size of a file take as long as a busy file server does."""
    ask = listing.regular_status

    def slow(entry: os.DirEntry[str]) -> os.stat_result | None:
        time.sleep(_ANSWER)
        return ask(entry)

    listing.regular_status = slow
    try:
        yield
    finally:
        listing.regular_status = ask


@contextmanager
def _beside(busy: int) -> Iterator[None]:
    """Keep the interpreter busy with this many threads."""
    stop = threading.Event()

    def spin() -> None:
        total = 0
        while not stop.is_set():
            for n in range(1000):
                total += n

    threads = [threading.Thread(target=spin) for _ in range(busy)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        _measure(int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
