"""Local jobs, by the real LocalExecutor: what they see, how they end, and what is left of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import pytest
from tests.integration.leaks import files_with, logs, others_can_read, watching_processes

from nemotron import lineage
from nemotron.kit import LaunchError, RunConfig, run_with_nemo_run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of what nemo-run imports
    pytest.importorskip("nemo_run")

ROOT = Path(__file__).parents[3]
SEEN = """\
import json, os, sys, time
print("said"), print("warned", file=sys.stderr)
json.dump({"env": dict(os.environ), "argv": sys.argv[1:]}, open("seen.json", "w"))
time.sleep(float(os.environ.get("WAIT", "0")))
sys.exit(int(os.environ.get("CODE", "0")))
"""


@dataclass
class Place:
    """A home and a project that others may look into."""

    home: Path
    project: Path

    def start(self, *words: object, **more: str) -> subprocess.Popen[str]:
        environ = {key: value for key, value in os.environ.items() if key != "NEMORUN_HOME"}
        environ |= {"HOME": str(self.home), "PYTHONPATH": str(ROOT / "tools" / "ns"), **more}
        return subprocess.Popen(
            [sys.executable, "-m", "nemotron.lineage.cli.main", *map(str, words)],
            cwd=self.project, env=environ, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: object, **more: str) -> tuple[int, str, str]:
        process = self.start("run", "here", *words, **more)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def seen(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads((self.project / "seen.json").read_text())
        return found


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in ("WANDB_API_KEY", "HF_TOKEN", "LINEAGE_STORE"):
        monkeypatch.delenv(name)
    folder = Path(tempfile.mkdtemp(prefix="lineage-local-"))
    folder.chmod(0o755)
    found = Place(folder / "home", folder / "project")
    before = os.umask(0o022)  # what most people have
    found.home.mkdir()
    found.project.mkdir()
    (found.project / "env.toml").write_text('[artifacts]\nstore = "lineage.db"\n[here]\n')
    (found.project / "job.py").write_text(SEEN)
    yield found
    os.umask(before)
    shutil.rmtree(folder)


VALUES = {
    "SPACES": "two  spaces ", "DOLLARS": "$HOME ${app_id} $$ $(id) $", "SEMICOLON": "a;id",
    "QUOTES": "it's \"quoted\" `id`", "BACKSLASH": "\\n \\", "MACRO": "${img_root}$replica_id",
    "lower": "as it is", "EMPTY": "",
}  # fmt: skip


def test_variables_and_words_arrive_as_they_are(place: Place) -> None:
    table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in VALUES.items())
    settings = (place.project / "env.toml").read_text()
    (place.project / "env.toml").write_text(f"{settings}[here.env_vars]\n{table}\n")
    words = ["a b", "$HOME", "x;touch INJECTED", "it's", "`touch INJECTED`", "*", "${app_id}", "$$"]
    status, _, err = place.run("--", sys.executable, "job.py", *words)
    assert status == 0, err
    assert {name: place.seen()["env"][name] for name in VALUES} == VALUES
    assert place.seen()["argv"] == words
    assert not list(place.project.parent.rglob("INJECTED"))


@pytest.mark.parametrize("code", [0, 3, 77])
def test_output_and_exit_status_are_those_of_the_job(place: Place, code: int) -> None:
    status, out, err = place.run(f"env_vars.CODE={code}", "--", sys.executable, "job.py")
    assert (status, out) == (code, "said\n")
    assert "warned\n" in err
    with lineage.open(place.project / "lineage.db") as store:
        (run,) = store.runs()
    assert run.status == ("ok" if code == 0 else "failed")


def test_what_is_piped_in_is_left_to_whom_it_is_for(place: Place) -> None:
    script = f"read first; {sys.executable} -m nemotron.lineage.cli.main run here -- true; cat"
    environ = {"HOME": str(place.home), "PYTHONPATH": str(ROOT / "tools" / "ns"),
               "PATH": os.environ["PATH"]}  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", script], input="one\ntwo\nthree\n", cwd=place.project, env=environ,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "two\nthree\n"


def test_with_defaults_nobody_else_could_read_the_key(place: Place) -> None:
    key, token = token_hex(20), f"hf_{token_hex(17)}"
    (place.home / ".netrc").write_text(f"machine api.wandb.ai login user password {key}\n")
    (place.home / ".netrc").chmod(0o600)
    with watching_processes(key, token) as seen_in_processes:
        status, out, err = place.run("--", sys.executable, "-c",
                                     "import os; assert os.environ['WANDB_API_KEY'][:9]",
                                     HF_TOKEN=token)  # fmt: skip
    assert status == 0, err
    assert not seen_in_processes
    for secret in (key, token):
        found = files_with(secret, place.home.parent)
        # as documented, among the executor's variables, which nemo-run writes to files
        assert {path.name for path in found} >= {"_TASKS", "nemo-run_executor.yaml"}
        assert not [path for path in found if others_can_read(path)]
        assert not set(logs(place.home.parent)) & found
        assert secret not in out + err


@pytest.mark.parametrize("form", ["netrc", "inherit"])
def test_form_that_hands_over_no_value_leaves_none(place: Place, form: str) -> None:
    key = token_hex(20)
    (place.home / ".netrc").write_text(f"machine api.wandb.ai login user password {key}\n")
    (place.home / ".netrc").chmod(0o600)
    more = {"WANDB_API_KEY": key} if form == "inherit" else {}
    status, _, err = place.run(f"secrets={form}", "--", sys.executable, "job.py", **more)
    assert status == 0, err
    seen = place.seen()["env"]
    if form == "inherit":
        assert seen["WANDB_API_KEY"] == key
    else:
        assert (seen["NETRC"], seen.get("WANDB_API_KEY")) == (str(place.home / ".netrc"), None)
    assert files_with(key, place.home / ".nemo_run") == set()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_launcher_stops_its_job(place: Place, number: int, status: int) -> None:
    process = place.start("run", "here", "env_vars.WAIT=600", "--", sys.executable, "job.py")
    _until((place.project / "seen.json").exists)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    with lineage.open(place.project / "lineage.db") as store:
        assert [run.status for run in store.runs()] == ["aborted"]


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_startup_commands_come_first_and_may_fail(place: Place) -> None:
    words = ['startup_commands=["export GREETING=hello", "cd /"]', "--", "sh", "-c"]
    assert place.run(*words, "echo $GREETING $PWD")[:2] == (0, "hello /\n")
    assert place.run('startup_commands=["false"]', "--", "echo", "no")[:2] == (1, "")
    assert place.run('startup_commands=["exit 7"]', "--", "echo", "no")[:2] == (7, "")


def test_job_does_not_inherit_the_pins_of_the_job_that_it_is_launched_from(place: Place) -> None:
    pins = place.project / "outer.json"
    pins.write_text('{"format": 1, "job": "outer", "pins": {}}')
    words = ["--", "sh", "-c", "echo pins=$LINEAGE_PINS"]
    assert place.run(*words, LINEAGE_PINS=str(pins))[:2] == (0, "pins=\n")
    said = f"env_vars.LINEAGE_PINS={pins}"
    assert place.run(said, *words)[:2] == (0, f"pins={pins}\n")


def test_detached_local_job_is_refused(place: Place) -> None:
    status, _, err = place.run("--detach", "--", "true")
    assert (status, err) == (
        1, "lineage: a local job ends with its launcher; leave out detach\n",
    )  # fmt: skip


def test_what_nemo_run_cannot_do_is_one_sentence(place: Place) -> None:
    assert place.run("launcher=torchrum", "--", "true")[::2] == (
        1, ("lineage: launcher: torchrum is none of torchrun, ft, slurm_ray, slurm_template, none; "
            "did you mean torchrun?\n"),
    )  # fmt: skip
    assert place.run("executor=kuberay", "image=x", "--", "true")[::2] == (
        1, "lineage: kuberay runs Ray jobs alone; say --ray, or ray=True in Python\n",
    )  # fmt: skip


def test_launches_at_once_do_not_mix(place: Place) -> None:
    codes = range(4)
    started = [
        place.start("run", "here", "--", "sh", "-c", f"echo {code}; exit {code}") for code in codes
    ]
    ends = [(*each.communicate(timeout=300), each.returncode) for each in started]
    assert [(out, status) for out, _, status in ends] == [(f"{code}\n", code) for code in codes]


# ------------------------------------------------------------------------- from Python


def test_launcher_works_from_python(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.py").write_text("import sys; print(sys.argv[1:]); sys.exit(4)")
    umask = os.umask(0o022)
    os.umask(umask)
    before = signal.getsignal(signal.SIGINT)
    status = run_with_nemo_run("job.py", ["a b", "$HOME"], RunConfig(job_name="sft"))
    assert status == 4
    assert capfd.readouterr().out == "['a b', '$HOME']\n"
    after = os.umask(umask)
    assert after == umask
    signal.signal(signal.SIGINT, before)  # torchx has put its own there
    command = run_with_nemo_run(
        "job.py", ["x"], RunConfig(), run_command=f"{sys.executable} {{script}} first"
    )
    assert command == 4
    assert capfd.readouterr().out == "['first', 'x']\n"
    with pytest.raises(LaunchError, match="a local job ends with its launcher"):
        run_with_nemo_run("job.py", [], RunConfig(detach=True))
    assert run_with_nemo_run("job.py", ["--x"], RunConfig(dry_run=True)) == 0
    assert "python job.py --x" in capfd.readouterr().out
