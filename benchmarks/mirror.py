"""How long does a save hold training while W&B's server is down?

    python benchmarks/mirror.py [saves]

A checkpoint is reported by the hook that Megatron-Bridge calls, in a process with a live W&B run
whose thread keeps trying to deliver; beside it, what the SDK alone takes to log the same artifact.
The server is that of the tests, on this machine: first it answers, then it is down. The times are
those of the training thread. Where wandb is not installed, an environment is made for it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from common import ROOT, folder, percentile

sys.path.insert(0, str(ROOT / "tests" / "integration" / "wandb"))

if TYPE_CHECKING:
    from server import Server  # type: ignore[import-not-found]  # of the tests

WANDB = "wandb==0.31.0"
STANDIN = ROOT / "tests" / "kit" / "standin"
PAUSE = 0.05  # seconds of training between saves
SDK_SAVES = 3  # each of them waits some 20 seconds for a server that is down
GOAL = 10.0  # milliseconds, p99


def main(saves: int) -> None:
    """Measure in an environment with wandb."""
    if importlib.util.find_spec("wandb") is not None:
        _compare(saves, sys.executable)
        return
    with tempfile.TemporaryDirectory() as place:
        python = Path(place) / "bin" / "python"
        venv.create(place, with_pip=True)
        needs = [WANDB, "blake3", "omegaconf>=2.4", "packaging", "pydantic"]
        install = [python, "-m", "pip", "install", "--quiet", *needs]
        if subprocess.run(install, check=False).returncode:
            print(f"NOT MEASURED: {WANDB} cannot be installed here")
            return
        _compare(saves, str(python))


def _compare(saves: int, python: str) -> None:
    from server import serving

    times: dict[str, list[float]] = {}
    for state, few in (("answers", 100), ("is down", SDK_SAVES)):
        for who, count in (("the hook and the mirror", saves), ("the SDK alone", few)):
            with folder() as place, serving() as server:
                down = state == "is down"
                times[f"server {state}: {who}"] = _measure_in(
                    python, place, server, who, count, down=down
                )
    width = max(map(len, times))
    print(f"{'':{width}} {'saves':>6} {'p50 ms':>10} {'p99 ms':>10} {'max ms':>10}")
    for name, values in times.items():
        shown = (statistics.median(values), percentile(values, 99), max(values))
        print(f"{name:{width}} {len(values):6}", *(f"{each * 1e3:10.2f}" for each in shown))
    ours, theirs = (times[f"server is down: {who}"] for who in
                    ("the hook and the mirror", "the SDK alone"))  # fmt: skip
    p99 = percentile(ours, 99)
    print(f"\nserver is down, the SDK against us, medians: "
          f"{statistics.median(theirs) / statistics.median(ours):.0f} x")  # fmt: skip
    print(f"p99 with the server down against its goal of {GOAL:.0f} ms: {p99 * 1e3 / GOAL:.2f} x")


def _measure_in(
    python: str, place: Path, server: Server, who: str, saves: int, *, down: bool
) -> list[float]:
    """Return the seconds of each save of a process of its own."""
    homes = ("HOME", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR")
    environ = {
        **os.environ, **dict.fromkeys(homes, str(place)), "WANDB_BASE_URL": server.url,
        "WANDB_API_KEY": "0" * 40, "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true",
        "NO_PROXY": "127.0.0.1", "LINEAGE_STORE": str(place / "lineage.db"),
        "LINEAGE_MIRROR_DRAIN": "0",
    }  # fmt: skip
    process = subprocess.Popen(
        [python, __file__, "--measure", who, str(saves)], env=environ, cwd=place, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "READY\n"
    server.faults.is_down = down
    process.stdin.write("go\n")
    process.stdin.flush()
    times: list[float] = json.loads(process.stdout.readline())
    process.kill()  # the SDK's own finish would wait for the server
    process.communicate()
    return times


def _measure(who: str, saves: int) -> None:
    import wandb

    checkpoints = Path("ckpts/nano3").absolute()
    run = wandb.init(project="p", entity="e")
    save = _hook(checkpoints) if who == "the hook and the mirror" else _sdk(run, checkpoints)
    for step, _ in enumerate(_checkpoints(checkpoints, 5)):
        save(step)
    print("READY", flush=True)
    sys.stdin.readline()
    times = []
    for step in _checkpoints(checkpoints, saves, 5):
        time.sleep(PAUSE)
        began = time.perf_counter()
        save(step)
        times.append(time.perf_counter() - began)
    print(json.dumps(times), flush=True)
    sys.stdin.readline()


def _checkpoints(place: Path, count: int, after: int = 0) -> Iterator[int]:
    for step in range(after, after + count):
        path = place / f"iter_{step:07d}"
        path.mkdir(parents=True)
        (path / "metadata.json").write_text(f'{{"step": {step}}}')
        (path / "run_config.yaml").write_text("train: {train_iters: 10}\n")
        for shard in range(8):
            (path / f"__{shard}_0.distcp").write_bytes(b"w")
        yield step


def _hook(place: Path) -> Callable[[int], object]:
    sys.path.insert(0, str(STANDIN))
    from megatron.bridge.training.utils import wandb_utils

    from nemotron import kit

    kit.track(name="bench")
    return lambda step: wandb_utils.on_save_checkpoint_success(
        f"{place}/iter_{step:07d}", str(place), step, None
    )


def _sdk(run: object, place: Path) -> Callable[[int], object]:
    import wandb

    def save(step: int) -> None:
        artifact = wandb.Artifact("nano3", type="model", metadata={"iteration": step})
        artifact.add_reference(f"file://{place}/iter_{step:07d}", checksum=False)
        run.log_artifact(artifact, aliases=[f"iter_{step:07d}"])  # type: ignore[attr-defined]  # a run

    return save


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        _measure(sys.argv[2], int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
