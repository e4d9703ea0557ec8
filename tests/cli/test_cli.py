"""The command line: what it prints, what it refuses, and how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import nemotron.lineage as lineage
from nemotron.lineage.cli.fast import resolve as fast_resolve
from nemotron.lineage.cli.main import main

ROOT = Path(__file__).parents[2]
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command; give (exit status, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as exit_:
            status = int(str(exit_.code))
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(params=["lineage.db", "lineage"])
def filled(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with two stages in it, named by LINEAGE_STORE."""
    place = tmp_path / request.param
    monkeypatch.setenv("LINEAGE_STORE", str(place))
    for name in ("tokens", "base", "tuned"):
        (tmp_path / name).mkdir()
    with lineage.open(place) as store:
        with store.run("prep", job_type="data-prep") as run:
            run.use("hf://org/raw@main", weight=0.5)
            run.publish("tokens", path="tokens", type="dataset", metadata={"total": 10})
        with store.run("train", config={"lr": 0.1, "opt": {"name": "adam"}}) as run:
            run.use("tokens")
            run.publish("model", path="base", type="model", metadata={"loss": 2.5, "step": 1},
                        aliases=["best"])  # fmt: skip
        with store.run("tune", config={"lr": 0.2, "opt": {"name": "adam"}}) as run:
            run.use("model:best", role="init")
            run.publish("model", path="tuned", type="model", metadata={"loss": 1.5, "step": 2})
    return place


def _json(answer: tuple[int, str, str]) -> Any:
    assert answer[0] == 0, answer
    return json.loads(answer[1])


# ------------------------------------------------------------------------- reading


def test_resolve_prints_the_path_alone(filled: Path, cli: Cli, tmp_path: Path) -> None:
    assert cli("resolve", "art://model:best") == (0, f"{tmp_path}/base\n", "")
    assert cli("resolve", "model", "--uri") == (0, "art://model:v2\n", "")
    assert cli("resolve", "model", "--at", "7", "--uri") == (0, "art://model:v1\n", "")
    assert cli("resolve", "model#config.json")[1] == f"{tmp_path}/tuned/config.json\n"
    assert _json(cli("resolve", "model", "--json"))["metadata"] == {"loss": 1.5, "step": 2}


def test_fast_resolve_answers_like_the_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    place = tmp_path / "lineage.db"
    monkeypatch.setenv("LINEAGE_STORE", str(place))
    (tmp_path / "out").mkdir()
    with lineage.open(place) as store:
        with store.run("x") as run:
            run.publish("data?sample=1", path="out", type="dataset", aliases=["best"])
        assert fast_resolve(["data?sample=1"]) is None, "the index lags"
        store.resolve("data?sample=1")
    for words in (["data?sample=1"], ["art://data?sample=1:best", "--uri"], ["data?sample=1:v1"]):
        fast = fast_resolve(words)
        assert fast is not None
        assert cli("resolve", "--at", "99", *words)[1] == f"{fast}\n"
    for words in (["data"], ["data?sample=1:v9"], ["ART://x"], [], ["a", "b"], ["x", "--json"]):
        assert fast_resolve(words) is None
    with lineage.open(place) as store:
        with store.run("y") as run:
            run.record("more", path="out", type="dataset")
        store.journal.intakes.writer({}).append  # noqa: B018 - a writer alone is no news
    assert fast_resolve(["more"]) is None, "a record waits in the intake"
    assert cli("resolve", "more")[0] == 0
    assert fast_resolve(["more"]) == str(tmp_path / "out")
    with lineage.open(place) as store:
        store.retire("more", "gone")
    assert fast_resolve(["more:v1"]) is None
    assert cli("resolve", "more:v1")[0] == 4


def test_show_a_version(filled: Path, cli: Cli) -> None:
    status, out, _ = cli("show", "model:best")
    assert status == 0
    assert "uri: art://model:v1" in out
    assert "  data: art://tokens:v1" in out
    assert "published" in out
    shown = _json(cli("show", "model:best", "--json"))
    assert shown["inputs"] == [{"target": "art://tokens:v1", "role": "data"}]
    assert [fact["kind"] for fact in shown["facts"]] == ["published", "alias-moved"]


def test_show_a_run(filled: Path, cli: Cli) -> None:
    run = _json(cli("runs", "--json"))[0]["id"]
    status, out, _ = cli("show", f"run:{run}")
    assert status == 0
    assert "name: tune" in out
    assert "published: art://model:v2" in out
    assert "  init: art://model:v1" in out
    shown = _json(cli("show", f"run:{run}", "--json"))
    assert shown["config"]["lr"] == 0.2
    assert {"target": "art://model:v1", "role": "init"} in shown["inputs"]


def test_show_a_run_that_evaluated_and_published_nothing(filled: Path, cli: Cli) -> None:
    with lineage.open(filled) as store, store.run("exam") as run:
        run.use("art://model:v2", role="eval")
        run.use("hf://org/questions", role="data")
    status, out, _ = cli("show", f"run:{run.id}")
    assert status == 0
    assert out.endswith("inputs:\n  data: hf://org/questions\n  eval: art://model:v2\n")


def test_log_and_its_aliases(filled: Path, cli: Cli) -> None:
    out = cli("log", "model")[1].splitlines()
    assert [line.split()[0] for line in out] == ["VERSION", "art://model:v2", "art://model:v1"]
    assert "loss=2.5 step=1" in out[2]
    assert [v["number"] for v in _json(cli("log", "model", "--json"))] == [2, 1]
    assert len(_json(cli("log", "model", "--at", "8", "--json"))) == 1
    assert "best   -     v1" in cli("log", "model", "--aliases")[1]
    assert _json(cli("log", "model", "--aliases", "--json"))[0]["alias"] == "best"


def test_find(filled: Path, cli: Cli) -> None:
    assert len(_json(cli("find", "--json"))) == 3
    assert len(_json(cli("find", "mod*", "--json"))) == 2
    (found,) = _json(cli("find", "--meta", "loss=1.5", "--type", "model", "--json"))
    assert found["uri"] == "art://model:v2"
    assert len(_json(cli("find", "--limit", 1, "--json"))) == 1
    assert cli("find", "--meta", "loss")[0] == 2


def test_tree_up_and_down(filled: Path, cli: Cli) -> None:
    assert cli("tree", "model")[1] == (
        "art://model:v2 (model by run tune)\n"
        "└── init: art://model:v1 (model by run train)\n"
        "    └── data: art://tokens:v1 (dataset by run prep)\n"
        "        └── data [@main, weight 0.5]: hf://org/raw\n"
    )
    assert cli("tree", "hf://org/raw", "--down")[1].splitlines()[-1].endswith("(model by run tune)")
    assert cli("tree")[0] == 0
    assert {n["kind"] for n in _json(cli("tree", "--json"))["nodes"]} == {
        "source", "run", "version",
    }  # fmt: skip


def test_up_and_down_list(filled: Path, cli: Cli) -> None:
    status, out, err = cli("up", "model")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        "hf://org/raw", "art://tokens:v1", "art://model:v1",
    ]  # fmt: skip
    assert err == "ancestors of model: 2 versions, 1 source\n"
    assert cli("down", "hf://org/raw")[2] == "impact of hf://org/raw: 3 versions in 3 runs\n"
    assert cli("down", "hf://org/raw", "--hops", 1)[1] == "art://tokens:v1  dataset\n"
    assert len(_json(cli("down", "tokens", "--type", "model", "--json"))) == 2


def test_path(filled: Path, cli: Cli) -> None:
    status, out, _ = cli("path", "tokens", "model")
    assert status == 0
    assert [line.split()[-1] for line in out.splitlines()] == [
        "dataset", "train", "model", "tune", "model",
    ]  # fmt: skip
    status, _, err = cli("path", "model", "tokens")
    assert (status, err) == (3, "lineage: tokens did not come from model\n")
    assert len(_json(cli("path", "tokens", "model", "--json"))[0]) == 5


def test_diff(filled: Path, cli: Cli) -> None:
    out = cli("diff", "model:v1", "model:v2")[1]
    assert "only art://model:v2 came from:\n  art://model:v1" in out
    assert "metadata loss: 2.5 -> 1.5" in out
    assert "config lr: 0.1 -> 0.2" in out
    assert "opt" not in out
    assert _json(cli("diff", "model:v1", "model:v2", "--json"))["config"] == {"lr": [0.1, 0.2]}


def test_runs(filled: Path, cli: Cli) -> None:
    lines = cli("runs")[1].splitlines()
    assert [line.split()[1] for line in lines] == ["NAME", "tune", "train", "prep"]
    assert len(_json(cli("runs", "prep", "--json"))) == 1


# ------------------------------------------------------------------------- writing


def test_publish_with_inputs_of_roles(filled: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    status, out, _ = cli(
        "publish", "child", "new", "--type", "model", "--meta", "step=3", "--meta", "note=ok",
        "--alias", "a", "--alias", "b", "--input", "init=model:best", "--input", "hf://org/x@v1",
    )  # fmt: skip
    assert (status, out) == (0, "art://child:v1\n")
    shown = _json(cli("show", "child", "--json"))
    assert shown["metadata"] == {"step": 3, "note": "ok"}
    assert shown["aliases"] == ["a", "b"]
    assert {(i["target"], i["role"]) for i in shown["inputs"]} == {
        ("art://model:v1", "init"), ("hf://org/x", "data"),
    }  # fmt: skip
    answer = _json(cli("publish", "child", "new", "--type", "model", "--digest", "--json"))
    assert answer["digest"].startswith("blake3:")


def test_publish_makes_the_store_but_reading_does_not(cli: Cli, tmp_path: Path) -> None:
    place = tmp_path / "new.db"
    assert cli("log", "x", "--store", place)[0] == 3
    assert not place.exists()
    (tmp_path / "x").touch()
    assert cli("publish", "x", "x", "--type", "t", "--store", place)[0] == 0
    assert place.exists()


def test_alias_moves_and_goes(filled: Path, cli: Cli) -> None:
    assert cli("alias", "model:v2", "best", "--expect", "v2")[0] == 5
    assert cli("alias", "model:v2", "best", "--expect", "v1") == (0, "art://model:v2\n", "")
    assert cli("alias", "model:v1", "new", "--expect", "none")[0] == 0
    assert cli("alias", "model", "new", "--delete")[0] == 0
    assert cli("resolve", "model:new")[0] == 3


def test_retire_says_what_was_made_from_it(filled: Path, cli: Cli) -> None:
    status, out, err = cli("retire", "model:v1", "--reason", "licence")
    assert (status, out) == (0, "art://model:v1\n")
    assert err == "note: made from it: art://model:v2\n"
    status, _, err = cli("resolve", "model:best")
    assert status == 4
    assert "(licence); nearest live: art://model:v2. Try: lineage log model" in err


def test_held_version_is_retired_once_it_is_released(filled: Path, cli: Cli) -> None:
    assert cli("hold", "model:best", "--reason", "a paper cites it") == (0, "art://model:v1\n", "")
    status, out, err = cli("retire", "model:v1", "--reason", "made room")
    assert (status, out) == (5, "")
    assert err.endswith(
        "is held (a paper cites it) and cannot be retired; release it first: "
        "lineage release art://model:v1\n"
    )
    assert cli("release", "model:v1") == (0, "art://model:v1\n", "")
    assert cli("retire", "model:v1", "--reason", "made room")[0] == 0
    assert cli("hold", "model:v1", "--reason", "too late")[0] == 4
    assert cli("release", "nope")[0] == 3


def test_relocate(filled: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "base").rename(tmp_path / "away")
    assert cli("relocate", "model:v1", "away")[0] == 0
    assert cli("resolve", "model:v1")[1] == f"{tmp_path}/away\n"
    assert cli("relocate", "model:v1", "nope")[0] == 3


def test_import_dir_declares_the_origin(filled: Path, cli: Cli, tmp_path: Path) -> None:
    status, out, _ = cli(
        "import", "dir", "base", "--name", "llama", "--type", "model", "--origin",
        "hf://org/llama@main",
    )  # fmt: skip
    assert (status, out) == (0, "art://llama:v1\n")
    (source,) = _json(cli("up", "llama", "--json"))
    assert source["uri"] == "hf://org/llama"
    assert cli("import")[0] == 2


# ---------------------------------------------------------------------------- care


def test_where_says_which_and_why(filled: Path, cli: Cli) -> None:
    facts = _json(cli("where", "--json"))
    assert (facts["store"], facts["why"], facts["pending"]) == (str(filled), "LINEAGE_STORE", 0)
    assert facts["commits"] == 12
    assert cli("where", "--rebuild")[0] == 0


def test_fsck_is_clean_or_names_the_damage(filled: Path, cli: Cli) -> None:
    assert cli("fsck")[1].startswith("clean: 12 commits, 0 redacted payloads, 0 pending records")
    if filled.is_dir():
        (filled / "commits" / "000000" / "000000003.json").write_text("{}")
        status, out, _ = cli("fsck")
        assert status == 7
        assert "commit 3 is damaged" in out
        assert _json((0, cli("fsck", "--json")[1], ""))["damage"]


def test_redact_asks_first(filled: Path, cli: Cli) -> None:
    assert cli("redact", "model:v1", "--reason", "x")[0] == 2
    assert cli("redact", "model:v1", "--reason", "x", "--yes")[1].startswith("1 payloads blanked")
    assert cli("redact", "nope", "--reason", "x", "--yes")[0] == 3
    assert cli("resolve", "model:v1", "--uri")[0] == 0


def test_doctor_finds_nothing_wrong_here(filled: Path, cli: Cli) -> None:
    status, out, _ = cli("doctor")
    assert status == 0, out
    assert "SQLite" in out
    assert all(check["fine"] for check in _json(cli("doctor", "--json")))


def test_doctor_without_a_store_is_fine(cli: Cli) -> None:
    status, out, _ = cli("doctor")
    assert status == 0
    assert "the first publish makes it" in out


def test_doctor_sees_another_owner_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "site" / "nemotron"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text(f"__path__.append({str(ROOT / 'tools/ns/nemotron')!r})")
    result = subprocess.run(
        [sys.executable, "-m", "nemotron.lineage.cli.main", "doctor"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "another package owns `nemotron`" in result.stdout


# ------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ([], 2, "the following arguments are required: COMMAND. Try: lineage --help"),
        (["bogus"], 2, "invalid choice: 'bogus'"),
        (["resolve", "ART://x"], 2, "an artifact begins with art://"),
        (["resolve", "nope"], 3, "there is no artifact 'nope' in this store"),
        (["resolve", "modl"], 3, "did you mean model?"),
        (["resolve", "model:v9"], 3, "art://model:v9 does not exist; newest is v2"),
        (["show", "run:nope"], 3, "there is no run 'run:nope'. Try: lineage runs"),
        (["show", "model@blake3:00000000"], 5, "has no digest yet to compare with"),
        (["down", "hf://org/nope"], 3, "no run of this store used hf://org/nope"),
        (["alias", "model", "v3"], 5, "cannot be an alias of art://model: it reads as a version"),
        (["publish", "a/../b", "base", "--type", "t"], 2, "a segment begins with"),
        (["publish", "x", "nope", "--type", "t"], 3, "pass external=True"),
        (["publish", "model", "base", "--type", "dataset"], 5, "is of type 'model'"),
        (["publish", "x", "base"], 2, "--type"),
        (["resolve", "model", "--store", "ftp://x/y"], 6, "ftp:// is no kind of store"),
        (["tree", "model", "--picture", "x.png"], 5, "a picture is .svg or .html"),
    ],
)
def test_refusal_is_one_sentence(
    filled: Path, cli: Cli, words: list[str], status: int, says: str
) -> None:
    found, out, err = cli(*words)
    assert found == status, err
    assert out == ""
    assert err.startswith("lineage")
    assert says in err
    assert err.count("\n") == 1


def test_help_lists_every_command(cli: Cli) -> None:
    status, out, _ = cli("--help")
    assert status == 0
    named = (
        "show resolve log find tree up down path runs alias retire relocate publish import where"
        " redact fsck doctor demo diff hold release"
    )
    for command in named.split():
        assert f"    {command} " in out


def test_pipe_that_closes_early_is_no_error(filled: Path) -> None:
    command = f"{sys.executable} -m nemotron.lineage.cli.main log model | head -1"
    command += "; echo ${PIPESTATUS[0]}"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools/ns")},
    )  # fmt: skip
    assert result.stderr == ""
    assert result.stdout.endswith("\n0\n")


def test_other_packages_add_commands(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nemotron.lineage.cli import commands

    class Entry:
        value = "extra:register"

        def load(self) -> Callable[[commands.Commands], None]:
            command = commands.Command("extra", "do more", lambda _: None, lambda _: 42)
            return lambda all_: all_.add(command)

    monkeypatch.setattr(commands, "entry_points", lambda group: [Entry()])
    assert cli("extra")[0] == 42
    assert "do more" in cli("--help")[1]


@pytest.mark.parametrize("ending", ["svg", "html"])
def test_picture_is_one_file_and_the_same_each_time(
    filled: Path, cli: Cli, tmp_path: Path, ending: str
) -> None:
    from xml.etree import ElementTree as ET

    cli("retire", "model:v1", "--reason", "x")
    for name in ("a", "b"):
        assert cli("tree", "model", "--picture", f"{name}.{ending}")[0] == 0
    text = (tmp_path / f"a.{ending}").read_text()
    assert text == (tmp_path / f"b.{ending}").read_text()
    root = ET.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    named = {node.get("data-uri") for node in root.iter() if node.get("data-uri")}
    assert {"art://model:v2", "art://model:v1", "art://tokens:v1", "hf://org/raw"} <= named
    assert "url(#gone)" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


# -------------------------------------------------------------------- what waits


def test_pending_records_are_listed_and_recovered(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "s.db")
    with lineage.open(store) as opened, opened.run("train", intake=out) as run:
        run.record("model", path=out, type="model")
        assert main(["where", "--pending", "--store", store]) == 0
        shown = capsys.readouterr().out
        assert run.id in shown
        assert str(out / ".lineage") in shown
        assert "1 records wait" in shown
        for options, says in ((["--dry-run"], "1 records wait"), ([], "1 records brought in")):
            assert main(["recover", str(out), "--store", store, *options]) == 0
            assert says in capsys.readouterr().out
        assert main(["where", "--pending", "--json", "--store", store]) == 0
        assert json.loads(capsys.readouterr().out) == []


def test_records_of_another_store_are_left_and_named(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lineage.open(tmp_path / "gone.db") as opened, opened.run("train", intake=out) as run:
        run.record("model", path=out, type="model")
    (file,) = (out / ".lineage").glob("*.jsonl")
    store = str(tmp_path / "new.db")
    assert main(["recover", str(out), "--store", store]) == 8
    shown = capsys.readouterr()
    assert "belongs to journal" in shown.out
    assert "left alone" in shown.err
    assert file.exists()


def test_moved_store_says_so_and_merge_reports_differences(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, ours = (str(tmp_path / name) for name in ("old", "new.db", "ours.db"))
    with lineage.open(old) as store, store.run("train") as run:
        run.publish("model", path=out, type="model", metadata={"loss": 2.5})
    assert main(["move", old, new, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ended"] is True
    assert main(["where", "--store", old]) == 0
    assert "goes on as journal" in capsys.readouterr().out
    assert main(["merge", new, "--as", "them", "--store", ours]) == 0
    assert "them/model: 1 imported" in capsys.readouterr().out
    with lineage.open(ours) as store:
        store.describe("them/model", {"loss": 1.0})
    assert main(["merge", new, "--as", "them", "--store", ours]) == 8
    assert "differs: metadata 'loss'" in capsys.readouterr().out
    assert main(["copy", str(tmp_path / "nope"), new]) == 3


# ----------------------------------------------------------------- words and terminals


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["log", "model", "--at", "yesterday"], "'yesterday' is no commit number and no time"),
        (["tree", "model", "--at", "2026-13-45"], "no time such as 2026-11-24T08:00"),
        (["resolve", "model", "--at", ""], "'' is no commit number"),
        (["log", "model", "--at", "²"], "is no commit number"),
        (["path", "hf://org/raw", "model", "--limit", "-1"], "'-1' is no number from 0 on"),
        (["find", "--limit=-5"], "'-5' is no number from 0 on"),
        (["up", "model", "--hops=-1"], "'-1' is no number from 0 on"),
        (["log", "model", "--at", "9" * 20], "is more than 2^63-1"),
        (["runs", "--limit", "9" * 20], "is more than 2^63-1"),
    ],
)
def test_odd_moments_and_counts_are_said_in_a_sentence(
    filled: Path, cli: Cli, words: list[str], says: str
) -> None:
    status, out, err = cli(*words)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_find_takes_lists_and_mappings(filled: Path, cli: Cli) -> None:
    with lineage.open(filled) as store:
        store.describe("model:best", {"betas": [0.9, 0.99]})
    (found,) = _json(cli("find", "--meta", "betas=[0.9, 0.99]", "--json"))
    assert found["uri"] == "art://model:v1"


def test_the_graph_lists_near_misses_as_well(filled: Path, cli: Cli) -> None:
    for command in ("tree", "up", "down"):
        assert "did you mean model?" in cli(command, "modle")[2]
        assert "did you mean best?" in cli(command, "model:bset")[2]


def test_what_steers_a_terminal_stays_on_its_line(filled: Path, cli: Cli) -> None:
    with lineage.open(filled) as store:
        store.describe("model:best", {"a": "one\ntwo\x1b[31m"})
    assert "a=one\\ntwo\\x1b[31m" in cli("log", "model")[1].splitlines()[2]


def test_where_says_which_store_is_missing_and_why(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEAGE_STORE", "nope.db")
    status, out, err = cli("where")
    assert status == 3
    assert "why    LINEAGE_STORE" in out
    assert "there is no store at" in err
    assert json.loads(cli("where", "--json")[1]) == {"store": "nope.db", "why": "LINEAGE_STORE"}


def test_a_blanked_place_is_no_answer(filled: Path, cli: Cli) -> None:
    assert cli("redact", "model:best", "--reason", "erasure", "--yes")[0] == 0
    status, out, err = cli("resolve", "model:best")
    assert (status, out) == (1, "")
    assert "was blanked; if you know it: lineage relocate art://model:v1 PATH" in err
    assert cli("resolve", "model:best", "--uri")[1] == "art://model:v1\n"


def _lineage(*words: str, **facts: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "nemotron.lineage.cli.main", *words]
    path = {"PYTHONPATH": str(ROOT / "tools" / "ns")}
    environ = {**os.environ, **path, **facts.pop("environ", {})}
    return subprocess.run(
        command, env=environ, stderr=subprocess.PIPE, timeout=60, check=False, **facts
    )


def test_a_terminal_without_the_letters_gets_them_spelt_out(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "zürich").mkdir()
    with lineage.open(filled) as store, store.run("x") as run:
        run.use("model:best")
        run.publish("far", path="zürich", type="model", metadata={"note": "€\udcff"})
        store.resolve("far")
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    read = {"stdout": subprocess.PIPE, "environ": ascii_only}
    assert b"`-- data: art://model:v1" in _lineage("tree", "far", **read).stdout
    assert b"z\\xfcrich  note=\\u20ac\\udcff" in _lineage("log", "far", **read).stdout
    for environ in (ascii_only, {"PYTHONIOENCODING": "utf-8"}):
        shown = _lineage("log", "far", "--json", stdout=subprocess.PIPE, environ=environ).stdout
        assert json.loads(shown)[0]["metadata"] == {"note": "€\udcff"}
    for words in (["resolve", "far"], ["resolve", "far", "--at", "99"]):  # the very bytes
        assert _lineage(*words, **read).stdout == os.fsencode(f"{tmp_path}/zürich\n")


@pytest.mark.parametrize("command", ["resolve", "log"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nobody_has_to_read_the_answer(filled: Path, command: str, unbuffered: str) -> None:
    with lineage.open(filled) as store:
        store.resolve("model")
    environ = {"PYTHONUNBUFFERED": unbuffered}
    source, sink = os.pipe()
    os.close(source)
    result = _lineage(command, "model", stdout=sink, environ=environ)
    os.close(sink)
    assert (result.returncode, result.stderr) == (0, b"")
    with open("/dev/full", "wb") as full:
        result = _lineage(command, "model", stdout=full, environ=environ)
    assert result.returncode == 6
    assert result.stderr.count(b"\n") == 1
    assert b"No space left on device" in result.stderr


def test_a_package_that_cannot_be_loaded_takes_no_other_command_away(
    filled: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from nemotron.lineage.cli import commands

    broken = EntryPoint("broken", "not_there_at_all:register", commands.GROUP)
    monkeypatch.setattr(commands, "entry_points", lambda group: [broken])
    assert cli("log", "model")[0] == 0
    assert "not_there_at_all:register cannot be loaded" in caplog.text
