"""No key is in a log, a record, an exception, a delivery, or a process list."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..leaks import files_with, holds, watching_processes
from .conftest import KEY, Shell

TOKEN = "hf_" + "Ab3dEf6h" * 5
TRAIN = """
import os, sys
from pathlib import Path
from nemotron.kit import *
import nemotron.kit as kit
init_wandb_if_configured(WandbConfig("p", "e", "sft"), job_type="training")
run = kit.current_run()
key, token = os.environ["WANDB_API_KEY"], os.environ["HF_TOKEN"]
run.use(f"https://example.com/data.bin?token={token}")
log_wandb_config({"api_key": key, "lr": 1e-4, "note": f"hf token {token}"})
Path("out").mkdir(exist_ok=True)
(Path("out") / "w").write_text(sys.argv[1])
run.publish("m", path="out", type="model",
            metadata={"WANDB_API_KEY": key, "said": f"login {token} was used", "step": 1})
try:
    run.use(f"https://me:{key}@example.com/data.bin")
except ValueError as error:
    print(error)
finish_wandb(int(sys.argv[1]))
"""
COMMANDS = [
    ["sync", "--retry"], ["sync", "--status", "--json"], ["show", "m:v2"], ["log", "m"],
    ["doctor", "--online"], ["import", "wandb", "e/p"],
]  # fmt: skip


def test_no_key_is_anywhere_whatever_becomes_of_the_server(shell: Shell) -> None:
    shell.environ["HF_TOKEN"] = TOKEN
    faults, said = shell.server.faults, []
    with watching_processes(KEY, TOKEN) as seen:
        said.append(shell.python(TRAIN, "0") + shell.said)
        faults.status("CreateArtifact", 403)
        said.append(shell.python(TRAIN, "1") + shell.said)
        faults.clear()
        faults.status("Viewer", 401)
        faults.status("anonymous", 401)
        said.append(shell.lineage("sync", "--again", status=11) + shell.said)
        faults.clear()
        said += [shell.lineage(*words) + shell.said for words in COMMANDS]
    assert not seen
    assert "it holds a user name or password" in said[0]
    world = shell.server.world
    assert len(world.versions("e/p/m")) == 2
    told = [each.metadata for each in world.artifacts.values()]
    told += [run.config for run in world.runs.values()]
    for secret in (KEY, TOKEN):
        for text in (*said, repr(told)):
            assert not holds(text.encode(), secret)
        for name, blob in world.blobs.items():
            assert not holds(blob, secret), name
    _close(shell.folder)
    assert not files_with(KEY, shell.folder) | files_with(TOKEN, shell.folder)


def _close(folder: Path) -> None:
    """Bring what SQLite keeps beside a database into it, so that one look finds everything."""
    for path in folder.rglob("*.db"):
        db = sqlite3.connect(path)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
