"""The launcher without a cluster: its inputs, its words, what it hides, how it reads Slurm."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nemotron import lineage
from nemotron.kit import LaunchError, RunConfig
from nemotron.kit.cli import check_logins
from nemotron.kit.cli_run import run, run_words
from nemotron.kit.launching import Request, launch
from nemotron.kit.launching.command import script_of
from nemotron.kit.launching.following import Growing, GrowingFiles, follow
from nemotron.kit.launching.guard import Guard, stoppable
from nemotron.kit.launching.inputs import Inputs, find_inputs, pins_page
from nemotron.kit.launching.masks import Mask
from nemotron.kit.launching.outcome import Outcome
from nemotron.kit.launching.ray import runtime_env, runtime_env_file
from nemotron.kit.launching.slurm import SlurmJob
from nemotron.lineage import ArtifactNotFoundError, Lineage, LineageError, Pinned, URIError, pin_job

KEY = "0123456789abcdef0123456789abcdef01234567"


# ------------------------------------------------------------------------- inputs


@pytest.fixture
def tokens(store: Lineage, tmp_path: Path) -> Lineage:
    """A store with two versions of a data set and one of a model."""
    for number in range(2):
        with store.run("prep") as run:
            path = tmp_path / f"x{number}"
            path.write_text(str(number))
            run.publish("tokens", path=path, type="dataset", aliases=["good"])
    with store.run("sft") as run:
        run.publish("team/model", path=tmp_path, type="model")
    return store


def _pinned(store: Lineage, *words: str, **arts: str) -> Inputs:
    inputs = find_inputs(words, arts)
    inputs.pin(
        lambda asked: {each: Pinned.of(store.resolve(each)) for each in asked}, store.resolve
    )
    return inputs


@pytest.mark.parametrize(
    ("words", "pinned"),
    [
        (["art://tokens"], ["art://tokens:v2"]),
        (["art://tokens:good"], ["art://tokens:v2"]),
        (["art://tokens:v1"], ["art://tokens:v1"]),
        (["--data=art://tokens:latest"], ["--data=art://tokens:v2"]),
        (["--data", "art://tokens:latest"], ["--data", "art://tokens:v2"]),
        (["run.data=art://tokens"], ["run.data=art://tokens:v2"]),
        (["run.data=tokens:good"], ["run.data=art://tokens:v2"]),
        (["--run.data=tokens:v1"], ["--run.data=art://tokens:v1"]),
        (["--art.data", "tokens:good"], ["--art.data", "art://tokens:v2"]),
        (["--art.data=team/model:latest"], ["--art.data=art://team/model:v1"]),
        (["art://tokens:v1#part/0.bin"], ["art://tokens:v1#part/0.bin"]),
        # no references
        (["tokens:good", "redis://host:1", "x=tokens:good"], None),
        (["run.lr=1e-4", "run.name=first:try", "run.blend=[a:1,b:2]"], None),
    ],
)
def test_references_among_the_words_are_pinned(
    tokens: Lineage, words: list[str], pinned: list[str] | None
) -> None:
    inputs = _pinned(tokens, "python", "train.py", *words)
    assert inputs.command == ["python", "train.py", *(pinned or words)]
    assert bool(inputs.pins) is (pinned is not None)


def test_reference_to_nothing_is_an_error_where_it_can_only_be_one(tokens: Lineage) -> None:
    with pytest.raises(ArtifactNotFoundError, match="there is no artifact 'nope'"):
        _pinned(tokens, "art://nope")
    with pytest.raises(ArtifactNotFoundError):
        _pinned(tokens, data="nope:latest")
    with pytest.raises(URIError):
        _pinned(tokens, data="a b")


def test_art_option_becomes_an_override(tokens: Lineage) -> None:
    inputs = _pinned(tokens, "python", "train.py", data="tokens:good", init="team/model")
    assert inputs.command[2:] == ["run.data=art://tokens:v2", "run.init=art://team/model:v1"]


def test_references_of_a_configuration_are_pinned_by_their_text(
    tokens: Lineage, tmp_path: Path
) -> None:
    (tmp_path / "train.yaml").write_text("""
run: {data: "tokens:good", base: "art://team/model", name: "first:try"}
path: "${art:data,path}"
""")
    for words in (["train.yaml"], ["--config", "train.yaml"], ["--config=train.yaml"]):
        inputs = _pinned(tokens, *words)
        assert inputs.command == words
        assert {text: pin.uri for text, pin in inputs.pins.items()} == {
            "tokens:good": "art://tokens:v2", "art://team/model": "art://team/model:v1",
        }  # fmt: skip


def test_override_takes_the_place_of_what_the_file_says(tokens: Lineage, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text('run: {data: "nope:good"}\npath: "${art:data,path}"\n')
    inputs = _pinned(tokens, "train.yaml", "run.data=tokens:v1")
    assert inputs.command == ["train.yaml", "run.data=art://tokens:v1"]
    (tmp_path / "train.yaml").write_text('run: {data: "tokens:good"}\npath: "${art:data,path}"\n')
    inputs = _pinned(tokens, "train.yaml", data="v1")
    assert inputs.command == ["train.yaml", "run.data=art://tokens:v1"]
    with pytest.raises(URIError, match=r"--art\.other needs the name too"):
        _pinned(tokens, "train.yaml", other="v1")


@pytest.mark.parametrize("text", ["a: [", "run: {data: '${nope'}", "- a", "\x00"])
def test_file_that_cannot_be_read_is_a_notice(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.yaml").write_text(text)
    inputs = find_inputs(["train.yaml"])
    assert not inputs.pins
    assert len(inputs.notices) <= 1


def test_page_is_what_a_job_reads(tokens: Lineage, monkeypatch: pytest.MonkeyPatch) -> None:
    with tokens.run("odd") as run:
        path = "/data/nemo_run/x"
        metadata = {"note": "it costs $HOME ✓"}
        run.publish("odd", path=path, type="dataset", external=True, metadata=metadata)
    page = pins_page("job", _pinned(tokens, "art://odd").pins)
    assert "/nemo_run" not in page
    assert "$" not in page
    assert page.isascii()
    assert "\n" not in page
    (found,) = pin_job(["art://odd"], environ={"LINEAGE_PINS": page}).values()
    assert (found.address, found.metadata) == (path, metadata)


def test_script_leaves_the_page_beside_itself(tmp_path: Path) -> None:
    import subprocess

    script = tmp_path / "job.sh"
    page = json.dumps({"format": 1, "pins": {"it's `x`": {}}})
    text = 'cat "$LINEAGE_PINS"; exit 3'
    script.write_text(script_of(f"({text})", pins=page, writes_status=True))
    for _ in range(2):  # by several ranks
        done = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (3, f"{page}\n"), done.stderr
    names = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("job"))
    assert names == ["job.pins.json", "job.sh", "job.status.0"]


def test_script_leaves_its_exit_status_whatever_ends_it(tmp_path: Path) -> None:
    script, secrets = tmp_path / "job.sh", tmp_path / "secrets.sh"
    for startup, text, status in (
        (["exit 7"], "true", 7), (["sh -c 'exit 9'"], "true", 9), ([], "exit 5", 5),
        ([], "sh -c 'kill -9 $$'", 137), (["true"], "true", 0),
    ):  # fmt: skip
        secrets.touch()
        script.write_text(
            script_of(text, startup=startup, writes_status=True, removes=str(secrets))
        )
        done = subprocess.run(["bash", script], capture_output=True, check=False)
        assert done.returncode == status
        assert (tmp_path / "job.status.0").read_text() == str(status)
        assert not secrets.exists()


# ------------------------------------------------------------------------- what is hidden


def test_mask_hides_values_in_every_form_that_we_write() -> None:
    mask = Mask({"MY_KEY": "it's $5 a day", "SHORT": "ab", "WANDB_API_KEY": KEY})
    told = mask.text(f"a {KEY} b it's $5 a day c $'it\\'s \\0445 a day'")
    assert told == "a [redacted] b [redacted] c [redacted]"
    assert mask.script("export SHORT=ab\nSHORT=ab\nLONGER=ab") == (
        "export SHORT=[redacted]\nSHORT=[redacted]\nLONGER=ab"
    )
    assert mask.command(["x", "--token", "abc", KEY]) == [
        "x",
        "--token",
        "[redacted]",
        "[redacted]",
    ]
    assert Mask({}).text("plain") == "plain"


def test_guard_tells_one_sentence_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    guard = Guard("launching on slurm", Mask({"MY_KEY": KEY}).text)
    with pytest.raises(LaunchError) as caught, guard:
        raise ValueError(f"it went\n wrong with {KEY}")
    assert str(caught.value) == "launching on slurm failed: it went wrong with [redacted]"
    assert caught.value.__suppress_context__
    assert "ValueError" in caplog.text
    assert KEY not in caplog.text
    with pytest.raises(LaunchError, match="failed: 1"), guard:
        sys.exit(1)  # as nemo-run does where a login fails
    for plain in (LineageError("as it is"), KeyboardInterrupt()):
        with pytest.raises(type(plain)) as same, guard:
            raise plain
        assert same.value is plain


def _interrupted(*signals: int, heeds: bool) -> list[str]:
    """Send signals to this process, and return how far it came."""
    reached = []
    with stoppable() as heed:
        for number in signals:
            os.kill(os.getpid(), number)
            reached.append("held")
        if heeds:
            heed()
    return reached


def test_termination_is_an_interruption_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as caught:
        _interrupted(signal.SIGTERM, heeds=True)
    assert caught.value.args == (signal.SIGTERM,)
    assert signal.getsignal(signal.SIGTERM) is before


def test_interruption_waits_until_it_is_known_what_to_cancel() -> None:
    assert _interrupted(signal.SIGINT, heeds=False) == ["held"]


def test_second_interruption_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        _interrupted(signal.SIGTERM, signal.SIGINT, heeds=False)
    assert caught.value.args == (signal.SIGINT,)


# ------------------------------------------------------------------------- Slurm, as it answers


Answers = dict[str, tuple[int, str]]


def _job(answers: Answers, **more: Any) -> SlurmJob:
    return SlurmJob("7", lambda command: answers.get(command.split()[0], (1, "")), "/x",
                    is_here=True, **more)  # fmt: skip


def _scontrol(*facts: str) -> Answers:
    text = "\n\n".join(f"JobId=7\n JobState={f.split()[0]} Reason=None\n ExitCode={f.split()[1]}"
                       for f in facts)  # fmt: skip
    return {"scontrol": (0, text)}


@pytest.mark.parametrize(
    ("facts", "status", "code"),
    [
        ("COMPLETED 0:0", "ok", 0),
        ("FAILED 3:0", "failed", 3),
        ("FAILED 0:9", "failed", 137),
        ("FAILED 0:0", "failed", 1),
        ("TIMEOUT 0:15", "failed", 143),
        ("OUT_OF_MEMORY 0:125", "failed", 253),
        ("NODE_FAIL 0:0", "failed", 1),
        ("CANCELLED 0:15", "aborted", 143),
        ("CANCELLED 0:0", "aborted", 143),
        ("CANCELLED 143:0", "aborted", 143),
    ],
)
def test_end_of_a_job_is_read_from_slurm(facts: str, status: str, code: int) -> None:
    outcome = _job(_scontrol(facts)).outcome()
    assert outcome is not None
    assert (outcome.status, outcome.code) == (status, code)
    assert facts.startswith(outcome.said)


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED"])
def test_job_that_goes_on_has_no_end(state: str) -> None:
    assert _job(_scontrol(f"{state} 0:0")).outcome() is None


def test_array_ends_with_its_last_element_and_as_its_worst() -> None:
    assert _job(_scontrol("COMPLETED 0:0", "RUNNING 0:0")).outcome() is None
    outcome = _job(_scontrol("COMPLETED 0:0", "FAILED 4:0", "CANCELLED 0:15")).outcome()
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("failed", 4)


def test_accounting_is_asked_when_the_controller_has_forgotten() -> None:
    outcome = _job({"sacct": (0, "CANCELLED by 1000|0:15\n")}).outcome()
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("aborted", 143)


def test_slurm_that_says_nothing_is_asked_again_and_given_up() -> None:
    job = _job({})
    for _ in range(60):
        assert job.outcome() is None
    sentence = "tells nothing of job 7, which may still run; look with: sacct -j 7"
    with pytest.raises(LaunchError, match=sentence):
        job.outcome()


# ------------------------------------------------------------------------- logs


def test_log_is_read_on_where_it_was(tmp_path: Path) -> None:
    log = Growing(str(tmp_path / "x.out"))
    assert log.news() == ""
    (tmp_path / "x.out").write_bytes("größe".encode()[:3])
    assert log.news() == "gr"
    with (tmp_path / "x.out").open("ab") as file:
        file.write("größe".encode()[3:] + b"\n")
    assert log.news() == "öße\n"


def test_log_of_the_other_side_is_read_on_where_it_was(tmp_path: Path) -> None:
    def run(command: str) -> tuple[int, str]:
        done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
        return done.returncode, done.stdout.decode(errors="replace")  # as invoke does it

    job = SlurmJob("7", run, str(tmp_path), is_here=False)
    assert not list(job.logs())
    path = tmp_path / "log-team_7_0.out"
    path.write_bytes("größe ✓".encode()[:3])
    (log,) = job.logs()
    assert log.news() == "gr"
    with path.open("ab") as file:
        file.write("größe ✓\n".encode()[3:])
    assert [log.news(), log.news()] == ["öße ✓\n", ""]


def test_logs_are_followed_to_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = GrowingFiles(str(tmp_path), {"*.out": False, "*.err": True})
    said = iter(["one\n", "two\n", None])

    class Job:
        number, folder = "1", str(tmp_path)

        def outcome(self) -> Outcome | None:
            line = next(said)
            if line is None:
                return Outcome(lineage.RunStatus.FAILED, 3, "FAILED")
            for name in ("a.out", "a.err"):
                with (tmp_path / name).open("a") as file:
                    file.write(line)
            return None

        def logs(self) -> Any:
            return iter(files.files())

        def cancel(self) -> None: ...

    pauses: list[float] = []
    assert follow(Job(), slowest=0.3, sleep=pauses.append).code == 3
    assert capsys.readouterr() == ("one\ntwo\n", "one\ntwo\n")
    assert len(pauses) == 2


# ------------------------------------------------------------------------- Ray's environment


def test_runtime_environment_is_a_file_of_the_user_that_does_not_stay() -> None:
    environment = runtime_env({"A": "a: b"}, "/work")
    assert environment["env_vars"] == {"RAY_OVERRIDE_JOB_RUNTIME_ENV": "1", "A": "a: b"}
    assert environment["excludes"] == ["env.toml", "**/env.toml"]
    with runtime_env_file(environment) as path:
        assert Path(path).stat().st_mode & 0o777 == 0o600
        import yaml

        assert yaml.safe_load(Path(path).read_text()) == environment
    assert not Path(path).exists()


# ------------------------------------------------------------------------- the command line


Cli = Callable[..., tuple[Request | None, int]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What ``lineage run`` asks the launcher for."""
    requests: list[Request] = []
    monkeypatch.setattr(
        "nemotron.kit.launching.launch", lambda request: requests.append(request) or 7
    )
    Path("env.toml").write_text('[gpu]\nexecutor = "slurm"\naccount = "a"\npartition = "p"\n')
    return requests


def _cli(*words: str) -> int:
    from nemotron.lineage.cli.main import main

    return main(["run", *words])


def test_words_before_and_behind_the_dashes(asked: list[Request]) -> None:
    words = ["nodes=2", "--art.data", "tokens:good", "--detach", "--store", "s.db", "job_name=sft"]
    assert _cli("gpu", *words, "--", "python", "x.py", "--detach", "--", "nodes=3") == 7
    (request,) = asked
    assert request.command == ["python", "x.py", "--detach", "--", "nodes=3"]
    assert (request.profile, request.arts, request.store) == (
        "gpu",
        {"data": "tokens:good"},
        "s.db",
    )
    config = request.config
    assert (config.nodes, config.detach, config.dry_run, config.job_name) == (2, True, False, "sft")


def test_options_may_stand_before_the_profile(asked: list[Request]) -> None:
    assert _cli("--ray", "--dry-run", "gpu", "--", "true") == 7
    assert (asked[0].ray, asked[0].config.dry_run) == (True, True)


@pytest.mark.parametrize("words", [["gpu"], ["gpu", "--"], ["gpu", "true"]])
def test_missing_command_is_told(
    asked: list[Request], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert _cli(*words) == 1
    assert capsys.readouterr().err == (
        "lineage: there is no command; say: lineage run PROFILE -- COMMAND ...\n"
    )


def test_missing_nemo_run_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nemo_run", None)  # type: ignore[arg-type]  # not installed
    Path("env.toml").write_text('[artifacts]\nstore = "lineage.db"\n[here]\n')
    assert _cli("here", "--", "true") == 1
    err = capsys.readouterr().err
    assert err.startswith("lineage: executors need nemo-run, which is not installed; run: pip ")
    with lineage.open("lineage.db") as store:
        assert store.runs() == []


def test_profile_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _cli("--", "true")
    assert "profile" in capsys.readouterr().err


def test_registered_words_read_nothing() -> None:
    parser = argparse.ArgumentParser()
    run_words(parser)
    assert callable(run)


def test_dry_run_needs_no_nemo_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nemo_run", None)  # type: ignore[arg-type]  # not installed
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    config = RunConfig(dry_run=True, env_vars={"MY_TOKEN": "t", "A": "a b"}, nodes=2)
    assert launch(Request(command=["python", "x.py", "--password", "pw"], config=config)) == 0
    out = capsys.readouterr().out
    for shown in ("executor  local", "nodes = 2", "A='a b'", "MY_TOKEN=[redacted]",
                  "python x.py --password '[redacted]'"):  # fmt: skip
        assert shown in out
    assert KEY not in out


# ------------------------------------------------------------------------- the doctor


def _doctor() -> list[tuple[bool, str]]:
    return list(check_logins(argparse.Namespace()))


def test_doctor_tells_where_it_looked_for_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    told = _doctor()
    assert all(fine for fine, _ in told)
    sentences = [sentence for _, sentence in told]
    assert "W&B: used: WANDB_API_KEY" in sentences
    assert "Hugging Face: HF_TOKEN: not set" in sentences
    assert KEY not in str(told)


@pytest.mark.parametrize(
    ("settings", "fine"),
    [
        ("", True),
        ('[wandb]\nproject = "p"', False),
        ('[wandb]\nproject = "p"\nmode = "offline"', True),
        ('[wandb]\nentity = "e"', True),
        ("[wandb", True),
    ],
)
def test_doctor_misses_a_login_where_one_is_needed(settings: str, *, fine: bool) -> None:
    Path("env.toml").write_text(settings)
    (told,) = [each for each in _doctor() if "wandb login" in each[1]]
    assert told[0] is fine
