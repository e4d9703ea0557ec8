"""The commands that read and write earlier layouts: their reports and exit statuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nemotron.lineage as lineage
from nemotron.lineage.cli.main import main

ROOT = Path(__file__).parents[2]
CREATED = "2026-01-02T03:04:05+01:00"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command on lineage.db; give (exit status, stdout, stderr)."""
    monkeypatch.setenv("LINEAGE_STORE", "lineage.db")

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as exit_:
            status = int(str(exit_.code))
        out, err = capsys.readouterr()
        return status, out, err

    return run


def put(root: Path, name: str, number: int, **facts: Any) -> Path:
    """Write one version as the tracker of the manifest layout does."""
    folder = root / name / f"v{number}"
    folder.mkdir(parents=True)
    manifest = {
        "name": name, "version": number, "type": "model", "path": f"s3://bucket/{name}/{number}",
        "created_at": CREATED, "producer": "local", "metadata": {"step": number}, "inputs": [],
        "used_artifacts": [], **facts,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    beside = {key: manifest[key] for key in ("path", "type", "metadata")}
    (folder / "metadata.json").write_text(json.dumps(beside, indent=2))
    (root / name / "latest").write_text(f"v{number}")
    return folder


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """A root of the manifest layout with two names."""
    root = tmp_path / "artifacts"
    put(root, "tokens", 1, type="dataset", inputs=["hf://org/raw"])
    put(root, "model", 1, used_artifacts=["tokens:v1"])
    put(root, "model", 2, used_artifacts=["tokens:v1", "model:v1"])
    return root


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A root of the registry with one name."""
    root = tmp_path / "old"
    folder = root / "m" / "v1"
    folder.mkdir(parents=True)
    version = {"version": 1, "path": str(folder), "created_at": CREATED, "metadata": {"loss": 2}}
    aliases = {"latest": 1, "production": 1}
    entry = {"name": "m", "versions": [version], "aliases": aliases}
    (root / ".art_index.json").write_text(json.dumps({"m": entry}, indent=2))
    return root


def test_import_manifest_reports_a_line_for_each_name(cli: Cli, manifests: Path) -> None:
    assert cli("import", "manifest", manifests) == (
        0,
        "model: 2 imported\ntokens: 1 imported\n",
        "",
    )
    again = "model: 2 already there\ntokens: 1 already there\n"
    assert cli("import", "manifest", manifests) == (0, again, "")
    assert cli("resolve", "model") == (0, "s3://bucket/model/2\n", "")
    assert [line.split()[0] for line in cli("up", "model")[1].splitlines()] == [
        "hf://org/raw", "art://tokens:v1", "art://model:v1",
    ]  # fmt: skip
    status, _, err = cli("publish", "model", ".", "--type", "model")
    assert status == 5
    assert "holds versions imported from manifest" in err


def test_import_registry_brings_aliases(cli: Cli, registry: Path) -> None:
    assert cli("import", "registry", registry) == (0, "m: 1 imported\n", "")
    assert cli("resolve", "m:production")[1] == f"{registry}/m/v1\n"


def test_oddity_alone_is_no_failure(cli: Cli, manifests: Path) -> None:
    (manifests / "model" / "latest").write_text("v1")
    status, out, err = cli("import", "manifest", manifests)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith(f"odd: {manifests}/model/latest: says 'v1'")


def test_what_was_left_out_has_an_exit_status_of_its_own(cli: Cli, manifests: Path) -> None:
    (manifests / "model" / "v2" / "manifest.json").write_text("{")
    put(manifests, "two words", 1)
    status, out, err = cli("import", "manifest", manifests)
    assert status == 8
    assert out.splitlines()[:3] == [
        "model: 1 imported, 1 left out", "tokens: 1 imported", "two words: 1 left out",
    ]  # fmt: skip
    assert any("model/v2/manifest.json: is damaged" in line for line in out.splitlines())
    assert err == "lineage: 2 things were left out; the report says why\n"
    (manifests / "model" / "v2" / "manifest.json").unlink()
    assert cli("import", "manifest", manifests)[0] == 8


def test_reports_as_json(cli: Cli, manifests: Path) -> None:
    put(manifests, "two words", 1)
    status, out, _ = cli("import", "manifest", manifests, "--json")
    report = json.loads(out)
    assert status == 8
    assert report["imported"] == ["art://tokens:v1", "art://model:v1", "art://model:v2"]
    assert report["skipped"] == [{"name": "two words", "what": "v1"}]
    assert report["there"] == []
    assert len(report["oddities"]) == 1
    cli("publish", "mine", ".", "--type", "model")
    status, out, _ = cli("export", "manifest", "out", "--json")
    report = json.loads(out)
    assert status == 0
    assert report["written"] == ["art://mine:v1"]
    assert report["foreign"] == ["art://model:v1", "art://model:v2", "art://tokens:v1"]


@pytest.mark.parametrize("before", [True, False])
def test_store_may_stand_anywhere(cli: Cli, manifests: Path, *, before: bool) -> None:
    for kind in (["manifest", manifests], ["dir", ".", "--name", "x", "--type", "model"]):
        words = ["--store", "other.db", *kind] if before else [*kind, "--store", "other.db"]
        assert cli("import", *words)[0] == 0
    with lineage.open("other.db") as store:
        assert [artifact.name for artifact in store.artifacts()] == ["model", "tokens", "x"]
    assert not Path("lineage.db").exists()


def test_export_reports_and_goes_round(cli: Cli, tmp_path: Path) -> None:
    cli("publish", "data?sample=1", ".", "--type", "dataset")
    assert cli("export", "manifest", "out") == (0, "data?sample=1: 1 written\n", "")
    assert cli("export", "manifest", "out") == (0, "data?sample=1: 1 unchanged\n", "")
    assert (tmp_path / "out" / "data%3Fsample%3D1" / "latest").read_text() == "v1"
    assert cli("import", "manifest", "out", "--store", "other.db")[0] == 0
    assert cli("import", "manifest", "out")[1] == "data?sample=1: 1 already there\n"


def test_export_leaves_names_of_others_out(cli: Cli, manifests: Path) -> None:
    cli("publish", "mine", ".", "--type", "model")
    cli("import", "manifest", manifests)
    assert cli("export", "manifest", "out") == (0, (
        "mine: 1 written\n"
        "model: 2 imported from elsewhere and not written\n"
        "tokens: 1 imported from elsewhere and not written\n"
    ), "")  # fmt: skip
    put(Path("out"), "mine", 2)
    status, out, err = cli("export", "manifest", "out")
    assert status == 8
    assert "mine: 1 left out" in out
    assert "odd: art://mine: somebody else wrote" in out
    assert err == "lineage: 1 thing was left out; the report says why\n"


def test_export_watches(tmp_path: Path, cli: Cli) -> None:
    cli("publish", "m", ".", "--type", "model")
    process = subprocess.Popen(
        [sys.executable, "-m", "nemotron.lineage.cli.main", "export", "manifest", "out",
         "--watch", "0.02"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "m: 1 written\n"
        (tmp_path / "new").mkdir()
        cli("publish", "m", "new", "--type", "model")
        assert process.stdout.readline() == "m: 1 written, 1 unchanged\n"
        assert (tmp_path / "out" / "m" / "latest").read_text() == "v2"
        (tmp_path / "out" / "m").rename(tmp_path / "away")
        (tmp_path / "out" / "m").write_text("in the way")
        cli("publish", "m", "s3://bucket/m", "--type", "model")
        assert process.stderr is not None
        assert "cannot be written: Not a directory" in process.stderr.readline()
        (tmp_path / "out" / "m").unlink()
        (tmp_path / "away").rename(tmp_path / "out" / "m")
        assert process.stdout.readline() == "m: 1 written, 2 unchanged\n"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130


def test_watch_says_nothing_while_nothing_happens(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("publish", "m", ".", "--type", "model")
    naps = iter([None, None, None])

    def sleep(seconds: float) -> None:
        assert seconds == 5
        if next(naps, True):
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    assert cli("export", "manifest", "out", "--watch", 5) == (130, "m: 1 written\n", "")


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["import", "manifest", "nope"], 3, "there is no folder nope"),
        (["import", "manifest", "empty"], 3, "there is no manifest under empty"),
        (["import", "manifest", "old"], 3, "Try: lineage import registry old"),
        (["import", "registry", "."], 3, "there is no .art_index.json in ."),
        (["import", "manifest", "s3://b/x"], 6, "is no local folder"),
        (["import", "registry", "hf://b/x"], 6, "is no local folder"),
        (["import", "bogus", "x"], 2, "invalid choice: 'bogus'"),
        (["export"], 2, "KIND"),
        (["export", "manifest", "out", "--store", "nope.db"], 3, "nope.db"),
        (["export", "manifest", "s3://b/x"], 6, "is no local folder"),
        (["export", "manifest", "file"], 1, "cannot be written"),
        (["export", "manifest", "out", "--watch", "0"], 2, "'0' is no number of seconds above 0"),
        (["export", "manifest", "out", "--watch", "soon"], 2, "'soon' is no number of seconds"),
    ],
)
def test_refusal_is_one_sentence(
    cli: Cli, registry: Path, words: list[str], status: int, says: str
) -> None:
    cli("publish", "m", ".", "--type", "model")
    Path("file").write_text("")
    Path("empty").mkdir()
    found, out, err = cli(*words)
    assert (found, out) == (status, ""), err
    assert err.startswith("lineage")
    assert says in err
    assert err.count("\n") == 1
