"""Real Megatron-Bridge on the CPU: tokens, pretraining, finetuning from its checkpoint, lineage.

    make demo-megatron

Each stage is a process of its own, and says one line for lineage: ``kit.track()``. Retention
deletes what it does not keep, and the tree shows it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import nemotron.lineage as lineage

HERE = Path(__file__).parent
NAMESPACE = HERE.parents[1] / "tools" / "ns"
LIMIT = 300  # seconds a stage may take


def main() -> None:
    """Run the stages, then show what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="that has Megatron-Bridge")
    parser.add_argument("--out", type=Path, default=Path("megatron-out"))
    options = parser.parse_args()
    out = options.out.resolve()
    tokens = out / f"tokens-{int(time.time())}"
    tokens.mkdir(parents=True)
    os.environ["LINEAGE_STORE"] = str(out / "lineage.db")

    with lineage.open() as store, store.run("prep", job_type="data-prep") as run:
        run.use(Path(__file__), role="data")  # what the tokens are made by
        _stage(options.python, "tokens.py", tokens / "text_document")
        print("published", run.publish("tiny-tokens", path=tokens, type="dataset").uri)
    data = ("--data", tokens / "text_document")
    _stage(options.python, "pretrain.py", out / "pretrain", *data, "--iters", 6, "--keep", 2,
           "--losses", "--name", "pretrain")  # fmt: skip
    _stage(options.python, "pretrain.py", out / "sft", *data, "--iters", 4, "--keep", 1,
           "--pretrained", out / "pretrain", "--name", "sft")  # fmt: skip

    with lineage.open() as store:
        for name in ("pretrain", "sft"):
            for version in reversed(store.log(name)):
                loss = version.metadata.get("loss")
                said = "" if loss is None else f", loss {loss:.3f}"
                print(f"{version.uri}  step {version.metadata['iteration']}  {version.state}{said}")
        print(f"\n{store.lineage('sft').tree()}")
        print("\nwhat learned from the tokens:")
        for node in store.lineage("tiny-tokens").descendants():
            print(f"  {node.uri}")
    print(f"\nask on: lineage show sft --store {out / 'lineage.db'}")


def _stage(python: str, script: str, *words: object) -> None:
    """Run a script in the environment of Megatron-Bridge; its log stays beside what it makes."""
    print(f"{script} {' '.join(map(str, words))}", flush=True)
    began = time.monotonic()
    done = subprocess.run(
        [python, HERE / script, *map(str, words)], check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(NAMESPACE)}, timeout=LIMIT,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{script} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    print(f"  {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
