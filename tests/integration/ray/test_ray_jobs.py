"""Jobs of a real Ray cluster: driver, tasks and actors see what they should, nobody else does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import pytest
from tests.integration.leaks import files_with, holds, logs, nobody_reads, watching_processes
from tests.integration.ray.conftest import ROOT, Ray

from nemotron import lineage

# As NeMo-RL does: the job sets a runtime environment of its own, with all that it sees.
DRIVER = """\
import json, os, sys
import ray
from nemotron import lineage

NAMES = ("WANDB_API_KEY", "WANDB_PROJECT", "NETRC", "LINEAGE_JOB", "GREETING")

def seen():
    return {name: os.environ[name] for name in NAMES if name in os.environ}

ray.init(runtime_env={"env_vars": dict(os.environ)}, log_to_driver=False)

@ray.remote
def task():
    return seen()

@ray.remote
class Actor:
    def ask(self):
        return seen()

own = Actor.options(runtime_env={"env_vars": {"GREETING": "mine"}}).remote()
found = {"driver": seen(), "task": ray.get(task.remote()), "own": ray.get(own.ask.remote()),
         "actor": ray.get(Actor.remote().ask.remote())}
with lineage.open() as store, store.run("rl", job_type="training") as run:
    for reference in sys.argv[2:]:
        run.use(reference)
    run.publish("policy", path=__file__, type="model")
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
print("said")
sys.exit(int(os.environ.get("CODE", "0")))
"""
GREETING = 'a b; `id` it\'s "q" 5 $ {x}'


@dataclass
class User:
    """Somebody with a home and a project."""

    home: Path
    project: Path
    ray: Ray

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        foreign = ("LINEAGE_", "WANDB_", "HF_", "RAY_")
        environ = {key: text for key, text in os.environ.items() if not key.startswith(foreign)}
        environ |= {"HOME": str(self.home), "PYTHONPATH": str(ROOT / "tools" / "ns"),
                    "RAY_API_SERVER_ADDRESS": self.ray.address, **more}  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "nemotron.lineage.cli.main", "run", "here", "--ray", *words],
            cwd=self.project, env=environ, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, **more: str) -> tuple[int, str, str]:
        process = self.start(*words, **more)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def settings(self, *lines: str) -> None:
        text = ['[wandb]\nproject = "nemotron"', '[artifacts]\nstore = "lineage.db"', "[here]"]
        (self.project / "env.toml").write_text("\n".join([*text, *lines]))

    def jobs(self) -> bytes:
        """What everybody on this machine can ask Ray."""
        with urllib.request.urlopen(f"{self.ray.address}/api/jobs/", timeout=10) as answer:
            content: bytes = answer.read()
        return content


@pytest.fixture
def user(ray: Ray) -> Iterator[User]:
    folder = Path(tempfile.mkdtemp(prefix="lineage-user-"))
    folder.chmod(0o755)
    found = User(folder / "home", folder / "project", ray)
    for each in (found.home, found.project):
        each.mkdir()
    found.settings()
    (found.project / "driver.py").write_text(DRIVER)
    yield found
    shutil.rmtree(folder)


def _log_in(user: User) -> str:
    key = token_hex(20)
    (user.home / ".netrc").write_text(f"machine api.wandb.ai login user password {key}\n")
    (user.home / ".netrc").chmod(0o600)
    return key


def test_driver_tasks_and_actors_see_what_they_should(user: User) -> None:
    key = _log_in(user)
    with lineage.open(user.project / "lineage.db") as store, store.run("first") as run:
        run.publish("base", path=user.project, type="model")
    words = [f"env_vars.GREETING={GREETING}", "--", sys.executable, "driver.py", "seen.json"]
    status, out, err = user.run(*words, "art://base:latest")
    assert status == 0, err
    assert "said" in out.splitlines()  # Ray may say something, too
    seen = json.loads((user.project / "seen.json").read_text())
    with lineage.open(user.project / "lineage.db") as store:
        launch = next(run for run in store.runs() if run.name == "launch")
        train = next(run for run in store.runs() if run.name == "rl")
        inputs = [str(each.target) for each in store.inputs("art://policy")]
    expected = {"WANDB_API_KEY": key, "WANDB_PROJECT": "nemotron", "LINEAGE_JOB": launch.job,
                "GREETING": GREETING}  # fmt: skip
    assert [seen[who] for who in ("driver", "task", "actor")] == [expected] * 3
    assert seen["own"] == {**expected, "GREETING": "mine"}
    # the documented form cannot be kept from others, so it is said
    assert "WANDB_API_KEY can be read by every user who can reach the cluster's head" in err
    assert 'secrets = { WANDB_API_KEY = "netrc" } avoids that' in err
    assert (train.job, train.detail["parent"], inputs) == (
        launch.job, launch.id, ["art://base:v1"],
    )  # fmt: skip
    assert launch.config["ray"] is True


def test_with_netrc_nobody_else_could_read_the_key(user: User) -> None:
    key = _log_in(user)
    user.settings('secrets = "netrc"')
    with watching_processes(key) as seen_in_processes:
        status, out, err = user.run("--", sys.executable, "driver.py", "seen.json")
    assert status == 0, err
    seen = json.loads((user.project / "seen.json").read_text())
    for who in ("driver", "task", "actor", "own"):
        assert seen[who]["NETRC"] == str(user.home / ".netrc")
        assert "WANDB_API_KEY" not in seen[who]
    assert files_with(key, user.ray.folder, user.home.parent) == {user.home / ".netrc"}
    assert nobody_reads(user.home / ".netrc")
    assert logs(user.ray.folder)
    assert not holds(user.jobs(), key)
    assert not seen_in_processes
    assert key not in out + err
    assert "can be read by" not in err


def test_exit_status_is_that_of_the_driver(user: User) -> None:
    words = ["env_vars.CODE=9", "--", sys.executable, "driver.py", "seen.json"]
    status, _, err = user.run(*words)
    assert status == 9, err
    with lineage.open(user.project / "lineage.db") as store:
        assert {run.name: run.status for run in store.runs()} == {"launch": "failed", "rl": "ok"}


def test_words_run_no_command(user: User) -> None:
    words = ["; touch INJECTED", "$(touch INJECTED)", "`touch INJECTED`", "a b", "'"]
    script = "import json, sys; json.dump(sys.argv[1:], open('argv.json', 'w'))"
    status, _, err = user.run("--", sys.executable, "-c", script, *words)
    assert status == 0, err
    assert json.loads((user.project / "argv.json").read_text()) == words
    assert not list(user.home.parent.rglob("INJECTED"))


def test_value_that_ray_would_expand_is_refused(user: User) -> None:
    for value in ("$HOME", "${HOME}", "a$b"):
        status, _, err = user.run(f"env_vars.GREETING={value}", "--", "true")
        assert status == 1
        assert "env_vars.GREETING: has a $ in its value, which Ray would expand" in err


def test_stopped_launcher_stops_the_job(user: User) -> None:
    script = "import time; open('started', 'w').close(); time.sleep(600)"
    process = user.start("--", sys.executable, "-c", script)
    _until((user.project / "started").exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    with lineage.open(user.project / "lineage.db") as store:
        (run,) = store.runs()
    assert run.status == "aborted"

    def state() -> str:  # the jobs come in no order
        jobs = json.loads(user.jobs())
        found: str = next(j["status"] for j in jobs if j["submission_id"] == run.config["job"])
        return found

    _until(lambda: state() == "STOPPED")


def test_job_that_is_stopped_ends_aborted(user: User) -> None:
    from ray.job_submission import JobSubmissionClient

    script = "import time; open('started', 'w').close(); time.sleep(600)"
    process = user.start("--", sys.executable, "-c", script)
    _until((user.project / "started").exists)
    with lineage.open(user.project / "lineage.db") as store:
        _until(lambda: bool(store.runs()))
        number = store.runs()[0].config["job"]
        JobSubmissionClient(user.ray.address).stop_job(number)
        process.communicate(timeout=300)
        assert process.returncode == 143
        assert store.runs()[0].status == "aborted"


def test_uploaded_folder_is_without_env_toml(user: User) -> None:
    words = [f"ray_working_dir={user.project}", "--", "sh", "-c", "ls; pwd"]
    status, out, err = user.run(*words)
    assert status == 0, err
    assert "driver.py" in out
    assert "env.toml" not in out
    assert str(user.project) not in out.rpartition("\n/")[2]
    (user.project / "env.toml").rename(user.project / "cluster.toml")
    status, out, err = user.run("--file", "cluster.toml", *words)
    assert status == 0, err
    assert "driver.py" in out
    assert "cluster.toml" not in out


def _until(holds_now: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds_now():
        assert time.monotonic() < deadline
        time.sleep(0.05)
