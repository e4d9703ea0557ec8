"""``lineage env`` and the doctor's check: what they print, and that no secret is in it."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nemotron.kit.cli import check, register
from nemotron.lineage import Commands
from nemotron.lineage.cli.commands import GROUP, KIT, all_commands
from nemotron.lineage.cli.main import main

from ..architecture.test_layers import ROOT, loaded_by
from .test_config import LEAKS, PASSWORD, TOKEN, Write, as_toml, write

__all__ = ["write"]  # a fixture

Cli = Callable[..., tuple[int, str, str]]
FILE = """
[wandb]
project = "nemotron"
entity = "team"

[base]
executor = "slurm"
account = "a"

[gpu]
extends = "base"
partition = "p"
env_vars = { NCCL_DEBUG = "INFO", WANDB_API_KEY = "dummy" }
startup_commands = ["one", "two"]
setup_lines = "a\\nb"
"""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``lineage env``; give (exit status, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main(["env", *map(str, words)])
        except SystemExit as exit_:
            status = int(str(exit_.code))
        return (status, *capsys.readouterr())

    return run


def test_effective_profile_says_where_each_value_came_from(write: Write, cli: Cli) -> None:
    path = write(FILE)
    status, out, err = cli("gpu", "nodes=4", "env_vars.NCCL_DEBUG=WARN")
    assert (status, err) == (0, "")
    assert (
        out
        == f"""\
file      {path}
sections  wandb, base, gpu
wandb     enabled, entity team, project nemotron
look      {path} [gpu] env_vars.WANDB_API_KEY: holds a secret itself; \
write secrets = {{ WANDB_API_KEY = "file" }} instead

KEY                     FROM         gpu
executor                parent base  slurm
nodes                   override     4
startup_commands        profile      ["one", "two"]
job_name                default      nemo-run
time                    default      04:00:00
detach                  default      false
dry_run                 default      false
env_vars.NCCL_DEBUG     override     WARN
env_vars.WANDB_API_KEY  profile      [redacted]
ray_mode                default      job
account                 parent base  a
partition               profile      p
tunnel                  default      local
setup_lines             profile      "a\\nb"
"""
    )


def test_json_holds_the_same(write: Write, cli: Cli) -> None:
    path = write(FILE)
    facts = json.loads(cli("gpu", "--json")[1])
    assert (facts["file"], facts["sections"]) == (str(path), ["wandb", "base", "gpu"])
    assert facts["wandb"] == {"state": "enabled", "entity": "team", "project": "nemotron"}
    values = {row["key"]: (row["value"], row["from"]) for row in facts["profile"]["values"]}
    assert values["account"] == ("a", "parent base")
    assert values["startup_commands"] == (["one", "two"], "profile")
    assert values["env_vars.WANDB_API_KEY"] == ("[redacted]", "profile")


def test_without_a_file_it_says_where_it_looked(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "pyproject.toml").touch()
    assert cli() == (
        0, f"file      none in {tmp_path}\nsections  none\nwandb     file missing\n", "",
    )  # fmt: skip
    assert json.loads(cli("--json")[1])["searched"] == [str(tmp_path)]
    assert cli("gpu")[::2] == (
        1, (f"lineage: [gpu]: there is no env.toml in {tmp_path}; "
        "write one there, or set NEMOTRON_ENV_FILE to the path of one\n"),
    )  # fmt: skip


def test_file_can_be_named(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "other.toml").write_text("[wandb]\nmoed = 1\n[p]\n")
    status, out, _ = cli("--file", "other.toml")
    assert status == 0
    assert out.splitlines()[2:] == [
        "wandb     project missing",
        (
            f"look      {tmp_path}/other.toml [wandb] moed: is not known, and is ignored; "
            "did you mean mode?"
        ),
    ]
    assert cli("--file", "no.toml")[0] == 1


def test_mistakes_are_one_sentence(write: Write, cli: Cli) -> None:
    path = write(FILE)
    assert cli("gpo") == (
        1, "",
        f"lineage: {path}: there is no profile gpo; did you mean gpu? the profiles are base, gpu\n",
    )  # fmt: skip
    assert cli("nodes=4")[2] == (
        "lineage: nodes: is set for no profile; say: lineage env PROFILE nodes=VALUE\n"
    )
    assert cli("gpu", "nodes")[2] == "lineage: nodes: is no override; write it as key=value\n"


def _check() -> list[tuple[bool, str]]:
    return list(check(Namespace()))


def test_doctor_looks_at_every_profile(tmp_path: Path, write: Write) -> None:
    (tmp_path / "pyproject.toml").touch()
    assert _check() == [(True, f"none in {tmp_path}"), (True, "W&B: file missing")]
    path = write(f'{FILE}[alone]\nexecutor = "docker"\n[local]\nextends = []\n')
    assert _check() == [
        (True, str(path)),
        (True, "W&B: enabled, entity team, project nemotron"),
        (True, "sections: wandb, base, gpu, alone, local"),
        (True, "[base] is a base for others"),
        (True, "[gpu] runs on slurm"),
        (False, (f"{path} [gpu] env_vars.WANDB_API_KEY: holds a secret itself; "
         'write secrets = { WANDB_API_KEY = "file" } instead')),
        (False, (f"{path} [alone]: the executor docker needs container_image; "
         "add what is missing here, or in a profile that it extends")),
        (True, "[local] runs on local"),
    ]  # fmt: skip
    write('[wandb]\nentity = "e"')
    assert _check()[-1] == (
        False, (f"{path} [wandb] entity: stands without a project, so tracking stays off; "
        "add project"),
    )  # fmt: skip
    write("[wandb")
    ((fine, sentence),) = _check()
    assert not fine
    assert "is no TOML" in sentence


@pytest.mark.parametrize("document", LEAKS, ids=map(str, range(len(LEAKS))))
def test_no_secret_is_printed(document: dict[str, Any], write: Write, cli: Cli) -> None:
    write(as_toml(document))
    told = [*cli(), *(sentence for _, sentence in _check())]
    for name in document:
        told += [*cli(name), *cli(name, "--json")]
    assert TOKEN not in "\n".join(map(str, told))


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_password_where_one_belongs_is_never_printed(mode: int, write: Write, cli: Cli) -> None:
    cases: list[dict[str, Any]] = [
        {"wandb": {"api_key": PASSWORD}},
        {"wandb": {"password": PASSWORD}},
        {"p": {"secrets": PASSWORD}},
        {"p": {"secrets": {"HF_TOKEN": PASSWORD}}},
        {"p": {"env_vars": {"HF_TOKEN": PASSWORD}}},
        {"p": {"env_vars": [f"HF_TOKEN={PASSWORD}", PASSWORD]}},
        {"p": {"env_vars": {"HF_TOKEN": f"{PASSWORD}\n"}}},
        {"p": {"env_vars": {"HF_TOKEN": [PASSWORD]}}},
        {"p": {"client_secret": PASSWORD}},
        {"p": {"executor": "kubeflow", "env_list": [{"name": "MY_KEY", "value": PASSWORD}]}},
        {"p": {"executor": "kuberay", "spec_kwargs": {"a": [{"password": PASSWORD}]}}},
    ]
    for document in cases:
        write(as_toml(document), mode)
        told = [*cli("p"), *cli("p", "--json"), *(sentence for _, sentence in _check())]
        told += cli("p", f"env_vars.MY_PASSWORD={PASSWORD}")
        assert PASSWORD not in "\n".join(map(str, told)), document


def test_commands_of_the_kit_are_found_once() -> None:
    names = [command.name for command in all_commands().commands]
    assert names.count("env") == 1
    assert (
        f'[project.entry-points."{GROUP}"]\nkit = "{KIT.value}"\n'
        in (ROOT / "pyproject.toml").read_text()
    )


def test_registering_reads_nothing() -> None:
    commands = Commands()
    register(commands)
    assert [each.name for each in commands.commands] == ["env", "run"]
    assert [each.name for each in commands.checks] == ["env.toml", "frameworks", "logins", "W&B"]
    loaded = loaded_by("from nemotron.lineage.cli.commands import all_commands; all_commands()")
    assert {name for name in loaded if name.startswith("nemotron.kit")} == {
        "nemotron.kit", "nemotron.kit.cli", "nemotron.kit.cli_run",
    }  # fmt: skip
