"""``lineage seal`` and ``lineage verify``: what they print, record and refuse."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import nemotron.lineage as lineage
from nemotron.lineage import digest
from nemotron.lineage.cli.main import main
from nemotron.lineage.sealing import alone

ROOT = Path(__file__).parents[2]
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command; give (exit status, stdout, stderr)."""
    # the process of the tests keeps its priority
    monkeypatch.setattr("nemotron.lineage.cli.sealing.yield_to_others", lambda: None)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as exit_:
            status = int(str(exit_.code))
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(params=["lineage.db", "lineage"], autouse=True)
def filled(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with three checkpoints, named by LINEAGE_STORE."""
    place = tmp_path / request.param
    monkeypatch.setenv("LINEAGE_STORE", str(place))
    with lineage.open(place) as store, store.run("train") as run:
        for step in (1, 2, 3):
            folder = tmp_path / f"iter_{step}"
            folder.mkdir()
            (folder / "weights").write_bytes(bytes([step]) * 100_000)
            run.publish("model", path=folder, type="model", aliases=[f"step_{step}"])
    return place


def test_all_that_is_seen_is_sealed(cli: Cli, tmp_path: Path) -> None:
    status, out, err = cli("seal")
    assert (status, err) == (0, "")
    digests = {step: digest(tmp_path / f"iter_{step}").text for step in (3, 2, 1)}
    assert out.splitlines() == [f"art://model:v{n}  {text}" for n, text in digests.items()]
    assert cli("seal", "--all") == (0, "", "")


def test_named_versions_are_sealed(cli: Cli, tmp_path: Path) -> None:
    expected = f"art://model:v2  {digest(tmp_path / 'iter_2').text}\n"
    assert cli("seal", "model:step_2", "--rate", "100") == (0, expected, "")
    assert cli("seal", "model:v2") == (0, expected, ""), "it is sealed already"
    status, out, _ = cli("seal", "model:step_1", "--json")
    (sealed,) = json.loads(out)["sealed"]
    assert (status, sealed["uri"]) == (0, "art://model:v1")
    assert sealed["digest"] == digest(tmp_path / "iter_1").text


def test_what_cannot_be_sealed_is_said_and_left_out(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "iter_2" / "weights").write_bytes(b"other")
    shutil.rmtree(tmp_path / "iter_3")
    status, out, err = cli("seal", "--all")
    assert status == 8
    assert [line.split()[0] for line in out.splitlines()] == ["art://model:v1"]
    assert "lineage: art://model:v3 is not at " in err
    assert "lineage: art://model:v2 changed: " in err
    status, out, _ = cli("seal", "--all", "--json")
    assert (status, json.loads(out)["sealed"]) == (8, [])
    left_out = [each["version"] for each in json.loads(out)["left_out"]]
    assert left_out == ["art://model:v3", "art://model:v2"]


def test_status_of_named_versions_is_that_of_the_first_that_failed(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "iter_2" / "weights").write_bytes(b"other")
    shutil.rmtree(tmp_path / "iter_3")
    assert cli("seal", "model:v1", "model:v2", "model:v3")[0] == 9
    assert cli("seal", "model:v3", "model:v2")[0] == 3
    assert cli("seal", "model:v9")[0] == 3
    assert cli("seal", ":")[0] == 2


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "fast"])
def test_rate_is_a_number_above_0(cli: Cli, rate: str) -> None:
    status, _, err = cli("seal", f"--rate={rate}")
    assert status == 2
    assert "is no number of megabytes above 0" in err


def test_names_and_all_contradict_each_other(cli: Cli) -> None:
    assert cli("seal", "model", "--all")[0] == 2


def test_all_is_left_to_the_process_that_is_at_it(cli: Cli, filled: Path) -> None:
    with lineage.open(filled) as store:
        folder = store.journal.cache
    assert folder is not None
    with alone(folder) as mine:
        assert mine
        status, out, err = cli("seal")
        assert (status, out) == (6, "")
        assert "another process seals for this store on this host" in err
        assert cli("seal", "model:v1")[0] == 0


def test_verify_says_what_it_compared(cli: Cli) -> None:
    cli("seal", "model:v1")
    status, out, err = cli("verify", "model:v1")
    assert (status, err) == (0, "")
    assert "art://model:v1 is unchanged: 100000 bytes in 1 file as blake3:" in out
    status, out, _ = cli("verify", "model:v2")
    assert status == 10
    assert "unverified bytes" in out


def test_verify_exits_with_the_worst(cli: Cli, tmp_path: Path) -> None:
    cli("seal")
    path = tmp_path / "iter_2" / "weights"
    with path.open("r+b") as file:
        file.seek(50_000)
        file.write(b"x")
    shutil.rmtree(tmp_path / "iter_3")
    assert cli("verify", "model:v1", "model:v3")[0] == 4
    status, out, _ = cli("verify", "model:v1", "model:v3", "model:v2")
    assert status == 9
    assert [line.split()[0] for line in out.splitlines()] == [
        "art://model:v1", "art://model:v3", "art://model:v2",
    ]  # fmt: skip
    assert json.loads(cli("show", "model:v3", "--json")[1])["state"] == "missing"
    found = json.loads(cli("verify", "model:v2", "--json")[1])
    assert [each["verdict"] for each in found] == ["changed"]
    assert cli("verify", "model:v9")[0] == 3


def _on_terminal(words: list[str], env: dict[str, str]) -> tuple[int, str]:
    """Run a command whose stderr is a terminal; give its status and what that showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "nemotron.lineage.cli.main", *words],
        stdout=subprocess.DEVNULL, stderr=theirs, env=env,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # the other end was closed
        pass
    os.close(ours)
    return process.wait(), shown.decode()


def test_progress_is_shown_on_a_terminal_alone(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns"), "TERM": "xterm"}
    (tmp_path / "iter_1" / "weights").write_bytes(b"x" * 100_000)
    with lineage.open() as store, store.run("again") as run:
        run.publish("model", path=tmp_path / "iter_1", type="model")
    status, shown = _on_terminal(["seal", "model", "--rate", "0.2"], env)
    assert status == 0
    assert "art://model:v4" in shown
    assert "/100.0 kB" in shown
    result = subprocess.run(
        [sys.executable, "-m", "nemotron.lineage.cli.main", "seal"],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stderr == ""
