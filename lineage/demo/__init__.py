"""The demo: a tiny language model, really trained in stages, with its lineage.

Text that is on every machine (Python's own manuals, this project's words) is prepared, a model is
pretrained on it, tuned on questions and answers, and taught by rewards. Each stage is a process of
its own, as on a cluster: it finds its inputs by ``art://`` and publishes what it made.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time

from ..errors import LineageError

__all__ = ["STAGES", "run_demo"]

STAGES = ("prepare", "pretrain", "sft", "rl")
FINAL = "art://demo/rl-model:final"
STORE = "lineage.db"
PICTURE = "lineage.html"


def run_demo(folder: str) -> int:
    """Run all stages in a folder, then show what the lineage knows.

    Args:
        folder: made when it is not there; what an earlier demo left in it is replaced.

    Returns:
        The exit status of the stage that failed, or 0.
    """
    if importlib.util.find_spec("numpy") is None:
        raise LineageError(
            "the demo trains a model with numpy, which is not installed; "
            "try: pip install 'nemotron-lineage[demo]'"
        )
    _make_empty(folder)
    environment = {**os.environ, "LINEAGE_STORE": os.path.join(folder, STORE)}
    # the matrices are tiny: more threads only wait for each other
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    for number, stage in enumerate(STAGES, 1):
        _say(f"\n[{number}/{len(STAGES)}] {stage}")
        command = [sys.executable, "-m", "nemotron.lineage.demo", stage, folder]
        status = subprocess.run(command, env=environment, check=False).returncode
        if status:
            return status
    _say(f"\ntrained in {time.monotonic() - began:.0f} s")
    _show(folder)
    return 0


def _make_empty(folder: str) -> None:
    mark = os.path.join(folder, STORE)
    if os.path.isdir(folder) and os.listdir(folder) and not os.path.exists(mark):
        raise LineageError(f"{folder} holds other things; name another folder for the demo")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)


def _show(folder: str) -> None:
    from ..export.picture import write_picture
    from ..registry import open_store

    with open_store(os.path.join(folder, STORE)) as store:
        oldest = store.log("demo/pretrain-model")[-1]
        shutil.rmtree(oldest.path)
        store.retire(oldest, "the demo makes room")
        final = store.resolve(FINAL)

        _say(f"\nWhat was {final.uri} made from?\n")
        graph = store.lineage(final)
        _say(graph.tree())

        raw = graph.ancestors(types=["source"])[0]
        impact = store.lineage(raw.uri)
        models = [node for node in impact.descendants() if node.type == "model"]
        _say(f"\nWhich models learned from {raw.uri}? {len(models)} of them:\n")
        _say(impact.tree(down=True))

        picture = os.path.join(folder, PICTURE)
        write_picture(graph, picture)
    _say(f"\npicture of it all: {picture}")
    _say(f"look around:  export LINEAGE_STORE={os.path.join(folder, STORE)}")
    _say(f"              lineage show {FINAL}")
    _say("              lineage log demo/pretrain-model")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
