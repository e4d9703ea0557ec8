"""Whatever is killed, cut off or refused: W&B ends with everything once."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from nemotron.lineage import VersionId

from .conftest import Shell, wait_until
from .server import serving
from .server.world import PENDING

TRAIN = """
import os, sys, time
from pathlib import Path
from nemotron.kit import *
import nemotron.kit as kit
saves, pause = int(sys.argv[1]), float(sys.argv[2])
init_wandb_if_configured(WandbConfig("p", "e", "sft"), job_type="training")
run = kit.current_run()
print("READY", flush=True)
run.use("hf://org/raw-text@main")
run.use("tokens:latest", weight=1.0)
took = []
for step in range(1, saves + 1):
    path = Path("out") / run.id / f"iter_{step:07d}"
    path.mkdir(parents=True)
    (path / "w").write_text(f"{run.id} {step}")
    began = time.perf_counter()
    run.record("m", path=path, type="model", metadata={"step": step},
               aliases=[f"step_{step}", "newest"])
    took.append(time.perf_counter() - began)
    if step % 3 == 0: run.record_deleted(Path("out") / run.id / f"iter_{step - 2:07d}", "retention")
    time.sleep(pause)
"""
END = "\nfinish_wandb()\n"
# a nightly run sets WANDB_KILLS=20
KILLS = int(os.environ.get("WANDB_KILLS", "4"))


@pytest.fixture(autouse=True)
def _tokens(shell: Shell) -> None:
    with shell.open() as store, store.run("prep") as run:
        run.publish("tokens", path="tokens", type="dataset", external=True)


def _check(shell: Shell) -> int:
    """Compare W&B with the store: every version once, every edge, every alias, every end."""
    world = shell.server.world
    made = world.versions()
    uris = [
        each.metadata["lineage"].get("uri") or each.metadata["lineage"]["source"] for each in made
    ]
    twice = {uri: count for uri, count in Counter(uris).items() if count > 1}
    assert not twice
    by_uri = dict(zip(uris, made, strict=True))
    with shell.open() as store:
        linked = {}
        for run in store.runs():
            for receipt in store.receipts(f"run:{run.id}"):
                linked[run.id] = str(receipt.name).rpartition("/")[2]
        wanted = [each for each in store.find(state=None) if each.run in linked]
        assert {str(each.uri) for each in wanted} <= set(uris)
        for version in wanted:
            there = by_uri[str(version.uri)]
            assert there.run == linked[version.run or ""]
            assert set(version.aliases) <= set(there.aliases), version.uri
            assert ("deleted" in there.tags) == (version.state == "deleted")
            for used in store.inputs(version):
                name = str(used.target) if isinstance(used.target, VersionId) else used.target.uri  # type: ignore[union-attr]  # a source
                users = {each.name for each in world.users(by_uri[name])}
                assert linked[version.run or ""] in users
        for artifact in store.artifacts():
            if artifact.latest is None or artifact.name != "m":
                continue
            holders = {alias: by_uri[f"art://m:v{n}"] for alias, n in artifact.aliases.items()}
            for alias, holder in holders.items():
                assert alias in holder.aliases
            assert "latest" in by_uri[f"art://m:v{artifact.latest}"].aliases
        assert len(wanted) == len([each for each in made if each.collection.name == "m"])
    return len(wanted)


def test_server_that_is_down_for_the_whole_training_costs_nothing(shell: Shell) -> None:
    process = shell.start(TRAIN + """
began = time.perf_counter()
end_run()
print(max(took), time.perf_counter() - began, flush=True)
os.kill(os.getpid(), 9)  # the SDK's own finish would wait for the server
""", "30", "0.05", LINEAGE_MIRROR_DRAIN="3")  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "READY\n"
    shell.server.faults.is_down = True
    out, err = process.communicate(timeout=120)
    longest, ending = map(float, out.split())
    assert longest < 5.0  # benchmarks/mirror.py measures it; this only finds a wait for a server
    assert 2.5 < ending < 15  # the drain of 3 s
    assert "not in W&B yet; deliver them with: lineage sync" in err
    assert not shell.server.world.versions("e/p/m")
    shell.server.faults.clear()
    shell.lineage("sync")
    assert _check(shell) == 30


def test_training_killed_at_random_moments_loses_and_doubles_nothing(shell: Shell) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    sys.stderr.write(f"seed {seed}\n")
    for _ in range(KILLS):
        process = shell.start(TRAIN, "1000", "0.03")
        assert process.stdout is not None
        assert process.stdout.readline() == "READY\n", process.communicate()
        time.sleep(chance.uniform(0, 2.5))
        process.kill()
        process.communicate()
        if chance.random() < 0.5:
            shell.lineage("sync", timeout=300)
    shell.lineage("sync", timeout=300)
    assert _check(shell) > KILLS
    assert not shell.server.unknown


def test_two_syncs_at_once_deliver_once(shell: Shell) -> None:
    for _ in range(4):
        shell.python(TRAIN + END, "6", "0", WANDB_MODE="offline")
    program = "import sys; from nemotron.lineage.cli.main import main; sys.exit(main(['sync']))"
    processes = [shell.start(program) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=150)
        assert process.returncode in (0, 11), out + err
    shell.lineage("sync")
    assert _check(shell) == 24
    created = [n for n, _ in shell.server.asked if n == "CreateArtifact"]
    assert len(created) == 24 + 2  # the tokens and the source


def test_sync_killed_at_random_moments_goes_on(shell: Shell) -> None:
    for _ in range(2):
        shell.python(TRAIN + END, "10", "0", WANDB_MODE="offline")
    chance = random.Random(7)
    program = "import sys; from nemotron.lineage.cli.main import main; sys.exit(main(['sync']))"
    for _ in range(8):
        process = shell.start(program)
        time.sleep(chance.uniform(0.5, 4))
        process.kill()
        process.communicate()
    shell.lineage("sync", timeout=300)
    assert _check(shell) == 20


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_server_is_asked_again(shell: Shell, status: int) -> None:
    process = shell.start(TRAIN + END, "6", "0.3", LINEAGE_MIRROR_DRAIN="30")
    assert process.stdout is not None
    process.stdout.readline()
    shell.server.faults.status("*", status, times=25)
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, out + err
    shell.lineage("sync")
    assert _check(shell) == 6


def test_refusals_are_listed_with_the_servers_words_and_tried_again(shell: Shell) -> None:
    shell.python(TRAIN + END, "3", "0", WANDB_MODE="offline")
    shell.server.faults.status("CreateArtifact", 403)
    shell.lineage("sync", status=11)
    said = shell.lineage("sync", "--status", status=11)
    assert "5 refused" in said  # the versions, the input, the source
    assert "refused art://m:v1: m: " in said
    assert "403" in said
    shell.server.faults.clear()
    shell.lineage("sync", status=11)  # it was refused: only a person can know that it is cured
    assert not shell.server.world.versions("e/p/m")
    shell.lineage("sync", "--retry")
    assert _check(shell) == 3


def test_wrong_login_is_one_sentence_and_nothing_is_refused(shell: Shell) -> None:
    shell.python(TRAIN + END, "2", "0", WANDB_MODE="offline")
    shell.server.faults.status("Viewer", 401)
    shell.server.faults.status("anonymous", 401)
    shell.lineage("sync", status=11)
    assert "W&B refuses the login" in shell.said
    assert "Try: wandb login" in shell.said
    shell.server.faults.clear()
    shell.lineage("sync")
    assert _check(shell) == 2


def test_what_was_left_half_way_counts_as_not_delivered(shell: Shell) -> None:
    process = shell.start(TRAIN, "2", "30")
    assert process.stdout is not None
    process.stdout.readline()
    shell.server.faults.hang("CommitArtifact")
    wait_until(lambda: any(e.state == PENDING for e in shell.server.world.artifacts.values()))
    process.kill()
    process.communicate()
    shell.server.faults.clear()
    shell.lineage("sync", timeout=200)
    assert _check(shell) >= 1


@pytest.mark.parametrize("eager", [True, False])
def test_left_half_way_for_good(tmp_path: Path, eager: bool) -> None:  # noqa: FBT001 - a case
    """A commit that never came: whether its aliases are there already or not."""
    folder = tmp_path / "other"
    folder.mkdir()
    with serving(eager_aliases=eager) as server:
        shell = Shell(folder, server)
        with shell.open() as store, store.run("prep") as run:
            run.publish("tokens", path="tokens", type="dataset", external=True)
        shell.python(TRAIN + END, "2", "0", WANDB_MODE="offline")
        server.faults.hang("CommitArtifact")
        process = shell.start(
            "import sys; from nemotron.lineage.cli.main import main; sys.exit(main(['sync']))"
        )
        wait_until(lambda: any(e.state == PENDING for e in server.world.artifacts.values()))
        _kill_with_helpers(process.pid)
        process.communicate()
        server.faults.clear()
        shell.lineage("sync", timeout=200)
        assert _check(shell) == 2


@pytest.mark.parametrize(
    "operation",
    [
        "CreateArtifact",
        "CommitArtifact",
        "UseArtifact",
        "UpdateArtifact",
        "AddAliases",
        "UpsertBucket",
    ],
)
def test_answer_that_gets_lost_is_looked_for(shell: Shell, operation: str) -> None:
    shell.python(TRAIN + END, "4", "0", WANDB_MODE="offline")
    shell.server.faults.lose_reply(operation, times=2)
    shell.lineage("sync", timeout=200)
    assert _check(shell) == 4


def test_slow_server_is_waited_for(shell: Shell) -> None:
    shell.server.faults.latency = 0.3
    shell.python(TRAIN + END, "2", "0", LINEAGE_MIRROR_DRAIN="1")
    shell.server.faults.latency = 0.1
    shell.lineage("sync", timeout=200)
    assert _check(shell) == 2


def test_state_of_this_host_may_be_lost(shell: Shell) -> None:
    shell.python(TRAIN + END, "3", "0")
    shell.lineage("sync")
    before = len(shell.server.world.artifacts)
    (rows,) = shell.folder.glob("lineage.db.d/mirror-wandb-1.db")
    rows.unlink()
    asked = len(shell.server.asked)
    shell.lineage("sync")
    assert shell.lineage("sync", "--status") == "wandb: 0 left, 0 refused\n"
    assert len(shell.server.world.artifacts) == before
    assert len(shell.server.asked) == asked


def test_what_wandb_lost_is_sent_anew_when_asked(shell: Shell) -> None:
    shell.python(TRAIN + END, "3", "0")
    shell.lineage("sync")
    shell.server.world.forget("e/p/m:lineage-v2")
    shell.lineage("sync")
    assert len(shell.server.world.versions("e/p/m")) == 2  # a receipt says that it is there
    shell.lineage("sync", "--again")
    assert _check(shell) == 3
    assert "art://m:v2" in json.dumps([e.metadata for e in shell.server.world.versions("e/p/m")])


def test_forked_workers_neither_hold_up_nor_double_anything(shell: Shell) -> None:
    """As loaders of data fork them, while the thread is at work."""
    process = shell.start(TRAIN.replace("    if step % 3", """
    if step % 4 == 0:
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool: pool.map(abs, range(8))
    if step % 3""") + END, "12", "0.05")  # fmt: skip
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert _check(shell) == 12
    assert [run.state for run in shell.server.world.runs.values()] == ["finished"]


def test_uploads_that_the_server_never_takes_hold_no_end_that_has_a_limit(shell: Shell) -> None:
    """Without ``WANDB_FINISH_TIMEOUT`` the SDK's own finish waits for them, for ever."""
    wandb = pytest.importorskip("wandb")
    if "finish_timeout" not in wandb.Settings.model_fields:
        pytest.skip("this wandb knows no limit of its own")
    process = shell.start(TRAIN + END + "\nprint('END', flush=True)\n", "2", "0",
                          LINEAGE_MIRROR_DRAIN="2", WANDB_FINISH_TIMEOUT="3")  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    shell.server.faults.hang("CommitArtifact")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "END\n"), err
    assert "deliver them with: lineage sync" in err
    shell.server.faults.clear()
    shell.lineage("sync", timeout=200)
    assert _check(shell) == 2


def test_terminated_training_waits_for_nothing(shell: Shell) -> None:
    process = shell.start(TRAIN + "\ntime.sleep(60)\n", "3", "0", LINEAGE_MIRROR_DRAIN="20")
    assert process.stdout is not None
    process.stdout.readline()
    shell.server.faults.is_down = True
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert time.monotonic() - began < 15  # not the drain of 20 s
    assert process.returncode == -signal.SIGTERM  # no handler of ours


def _kill_with_helpers(pid: int) -> None:
    for each in [*_children(pid), pid]:
        os.kill(each, signal.SIGKILL)


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())
