"""Two hosts share a folder: saves are recorded by one, deletions by the other, one graph comes out.

The hosts are processes with names and caches of their own, and see the folder as a network mount.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from nemotron import lineage
from nemotron.lineage import audit

from .conftest import Start

HOST = """
import json, os, shutil, socket, sys, time
host, shared = sys.argv[1:3]
socket.gethostname = lambda: host
import nemotron.lineage as lineage
from nemotron.lineage import Recorder, places
from nemotron.lineage.filesystems import NETWORK
places.filesystem = lambda path: (NETWORK, "nfs4")
os.environ["LINEAGE_CACHE"] = f"{shared}/../cache-of-{host}"
store, save = f"{shared}/lineage", f"{shared}/checkpoints"
def steps():
    return sorted(name for name in os.listdir(save) if name.startswith("iter"))
"""
PREPARE = """
os.mkdir(f"{shared}/tokens")
with lineage.open(store) as opened:
    with opened.run("prep") as run:
        run.use("hf://org/raw@main", role="data")
        run.publish("tokens", path=f"{shared}/tokens", type="dataset")
    opened.run("train", id="r1", config={"lr": 1}).use("tokens", role="data")
"""
SAVE = """
recorder = Recorder("train", run="r1", beside=save, store=store)
for step in range(1, 9):
    path = f"{save}/iter_{step:07d}"
    os.makedirs(path)
    with open(f"{path}/weights", "w") as file:
        file.write(str(step))
    recorder.record("model", path=path, type="model", metadata={"step": step})
    while len(steps()) > 3:  # as a barrier: rank 0 makes room
        time.sleep(0.005)
recorder.close()
"""
DELETE = """
recorder = Recorder("train", run="r1", beside=save, store=store)
os.makedirs(save, exist_ok=True)
gone = 0
while gone < 6:
    there = [name for name in steps() if os.path.exists(f"{save}/{name}/weights")]
    if len(there) > 2:
        shutil.rmtree(f"{save}/{there[0]}")
        recorder.record_deleted(f"{save}/{there[0]}", "most_recent_k")
        gone += 1
    time.sleep(0.005)
recorder.close()
"""
TUNE = """
os.mkdir(f"{shared}/tuned")
with lineage.open(store) as opened, opened.run("tune") as run:
    run.use("model", role="init")
    run.publish("tuned", path=f"{shared}/tuned", type="model")
"""
ASK = """
with lineage.open(store) as opened:
    opened.combine()
    print(json.dumps({
        "head": opened.position()["head"],
        "tree": opened.lineage("tuned").tree(),
        "versions": [[v.number, str(v.state), v.location.host, v.metadata["step"]]
                     for v in opened.log("model")],
        "nodes": sorted(node.uri for node in opened.lineage().nodes()),
    }))
"""


def _answer(process: subprocess.Popen[str]) -> str:
    text = process.communicate()[0]
    assert process.returncode == 0
    return text


def test_saves_of_one_host_and_deletions_of_the_other_make_one_graph(
    tmp_path: Path, start: Start
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    _answer(start(HOST + PREPARE, "node-a", shared))
    training = [
        start(HOST + DELETE, "node-a", shared),  # rank 0
        start(HOST + SAVE, "node-b", shared),  # the last rank
    ]
    for process in training:
        _answer(process)
    _answer(start(HOST + TUNE, "node-b", shared))
    first, second = (
        json.loads(_answer(start(HOST + ASK, host, shared))) for host in ("node-a", "node-b")
    )
    assert first == second
    gone = [[number, "deleted", None, number] for number in range(6, 0, -1)]
    assert first["versions"] == [[8, "live", None, 8], [7, "live", None, 7], *gone]
    assert "art://model:v8" in first["tree"]
    assert "hf://org/raw" in first["tree"]
    with lineage.open(shared / "lineage") as store:
        ancestors = {node.uri for node in store.lineage("tuned").ancestors()}
        assert {"art://model:v8", "art://tokens:v1", "hf://org/raw"} <= ancestors
        report = audit.fsck(store)
        assert report.is_clean, report.damage
        assert report.pending == 0
    caches = sorted(path.name for path in tmp_path.glob("cache-of-*"))
    assert caches == ["cache-of-node-a", "cache-of-node-b"]
