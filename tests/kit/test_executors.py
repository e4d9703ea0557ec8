"""What an executor carries is decided without nemo-run: variables, secrets, the store."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nemotron.kit import RunConfig, SettingsError, build_executor
from nemotron.kit.config.schema import EXECUTORS
from nemotron.kit.executors import sourced
from nemotron.kit.executors.building import Plan, prepare
from nemotron.kit.executors.forms import CARRIAGES
from nemotron.kit.executors.packagers import leave_out

from ..architecture.test_layers import loaded_by

KEY = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz"
CLUSTER = {"executor": "slurm", "account": "team", "partition": "batch"}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "lineage.db"))
    for name in ("wandb", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]  # not installed
    return tmp_path


def _plan(given: Mapping[str, str] | None = None, *, ray: bool = False, **profile: Any) -> Plan:
    return prepare(RunConfig(**profile), given, ray=ray)


def _settings(text: str) -> None:
    Path("env.toml").write_text(text)


def _log_in(key: str = KEY) -> Path:
    path = Path(os.environ["HOME"]) / ".netrc"
    path.write_text(f"machine api.wandb.ai login user password {key}\n")
    path.chmod(0o600)
    return path


# ------------------------------------------------------------------------- variables


def test_what_nobody_said_is_filled_in(project: Path) -> None:
    _log_in()
    _settings('[wandb]\nproject = "p"\nentity = "e"\ntags = ["a", "b"]')
    assert _plan().handover.variables == {
        "WANDB_API_KEY": KEY, "WANDB_PROJECT": "p", "WANDB_ENTITY": "e", "WANDB_TAGS": "a,b",
        "LINEAGE_STORE": str(project / "lineage.db"),
    }  # fmt: skip


def test_key_is_looked_for_only_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    plan = _plan({"WANDB_API_KEY": "mine"}, env_vars={"HF_TOKEN": "mine too"})
    assert plan.handover.variables["WANDB_API_KEY"] == "mine"
    assert plan.handover.variables["HF_TOKEN"] == "mine too"


def test_falsy_key_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", " ")
    assert "WANDB_API_KEY" not in _plan().handover.variables


def test_missing_login_is_a_notice_and_no_error() -> None:
    _settings('[wandb]\nproject = "p"')
    assert [each for each in _plan().notices if "wandb login" in each]
    for mode in ("offline", "disabled"):
        _settings(f'[wandb]\nproject = "p"\nmode = "{mode}"')
        assert not [each for each in _plan().notices if "wandb login" in each]


def test_key_belongs_to_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    path = _log_in()
    path.write_text(f"machine wandb.example.com login user password {KEY}\n")
    assert "WANDB_API_KEY" not in _plan().handover.variables
    _settings('[wandb]\nbase_url = "https://wandb.example.com"')
    variables = _plan().handover.variables
    assert variables["WANDB_API_KEY"] == KEY
    assert variables["WANDB_BASE_URL"] == "https://wandb.example.com"
    monkeypatch.setenv("WANDB_BASE_URL", "https://elsewhere.example.com")
    variables = _plan().handover.variables
    assert variables["WANDB_BASE_URL"] == "https://elsewhere.example.com"
    assert "WANDB_API_KEY" not in variables
    given = {"WANDB_BASE_URL": "https://wandb.example.com"}
    assert _plan(given).handover.variables["WANDB_API_KEY"] == KEY


def test_identity_token_stands_for_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    _log_in()
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", "/run/token")
    variables = _plan().handover.variables
    assert variables["WANDB_IDENTITY_TOKEN_FILE"] == "/run/token"
    assert "WANDB_API_KEY" not in variables


def test_section_that_cannot_be_carried_as_it_is_is_left_out() -> None:
    _settings('[wandb]\nproject = "p"\nnotes = "with spaces"')
    plan = _plan(
        executor="dgxcloud", container_image="i", base_url="u", kube_apiserver_url="u",
        client_id="c", client_secret="env:X", project_name="p", pvc_nemo_run_dir="/v",
    )  # fmt: skip
    assert "WANDB_NOTES" not in plan.handover.variables
    assert plan.handover.variables["WANDB_PROJECT"] == "p"
    assert any("[wandb] notes is not handed over" in each for each in plan.notices)


# ------------------------------------------------------------------------- secrets


def test_secret_is_told_by_its_name_and_travels_apart() -> None:
    plan = _plan(**CLUSTER, env_vars={"MY_TOKEN": "t", "NCCL_DEBUG": "INFO", "EOS_TOKEN": "</s>"})
    assert plan.handover.sourced == {"MY_TOKEN": "t"}
    assert plan.handover.variables["NCCL_DEBUG"] == "INFO"
    assert plan.handover.variables["EOS_TOKEN"] == "</s>"
    assert set(plan.handover.names) >= {"MY_TOKEN", "NCCL_DEBUG"}


@pytest.mark.parametrize(
    "name",
    ["PGPASSWORD", "MYSQL_PWD", "REDIS_AUTH", "WANDB_APIKEY", "MY_JWT", "GPG_PASSPHRASE"],
)
def test_secret_is_one_by_every_name_that_is_masked(name: str) -> None:
    """What `lineage env` hides must not stand in the script of the job."""
    plan = _plan(**CLUSTER, env_vars={name: "hunter2"})
    assert plan.handover.sourced == {name: "hunter2"}
    assert name not in plan.handover.variables


def test_secret_is_told_by_the_look_of_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = {"DB": "postgresql://me:hunter2@db.example.com/x", "OTHER": f"hf_{'a1B2' * 8}"}
    monkeypatch.setenv("WANDB_BASE_URL", "https://me:hunter2@wandb.example.com")
    plan = _plan(**CLUSTER, env_vars={**urls, "PLAIN": "https://db.example.com/x"})
    server = {"WANDB_BASE_URL": "https://me:hunter2@wandb.example.com"}
    assert plan.handover.sourced == {**urls, **server}
    assert plan.handover.variables["PLAIN"] == "https://db.example.com/x"


def test_exported_secret_is_handed_over_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_VARIABLE", "k")
    plan = _plan(**CLUSTER, secrets={"MY_VARIABLE": "file"})
    assert plan.handover.sourced == {"MY_VARIABLE": "k"}
    with pytest.raises(SettingsError, match="is to be handed over, and is not set here"):
        _plan(**CLUSTER, secrets={"NOT_SET": "file"})
    with pytest.raises(SettingsError, match="file is no way to hand over a secret here"):
        _plan(secrets={"MY_VARIABLE": "file"})


def test_default_form_is_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert _plan().handover.variables["WANDB_API_KEY"] == KEY
    assert _plan(**CLUSTER).handover.sourced == {"WANDB_API_KEY": KEY}
    assert _plan(**CLUSTER, secrets="env").handover.variables["WANDB_API_KEY"] == KEY
    inherited = _plan(**CLUSTER, secrets="inherit").handover
    assert (inherited.variables.get("WANDB_API_KEY"), inherited.inherited) == (
        None, ["WANDB_API_KEY"],
    )  # fmt: skip


def test_variables_can_each_have_a_form(monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = _log_in()
    monkeypatch.setenv("MY_KEY", "k")
    secrets = {"WANDB_API_KEY": "netrc", "MY_KEY": "env", "OTHER": "file:/shared/other"}
    handover = _plan(**CLUSTER, secrets=secrets).handover
    assert handover.variables["NETRC"] == str(netrc)
    assert handover.variables["MY_KEY"] == "k"
    assert handover.files == {"OTHER": "/shared/other"}


def test_value_and_pointer_contradict(monkeypatch: pytest.MonkeyPatch) -> None:
    _log_in()
    with pytest.raises(SettingsError, match="is netrc, and env_vars holds a value"):
        _plan({"WANDB_API_KEY": "mine"}, secrets={"WANDB_API_KEY": "netrc"})
    # for the profile as a whole, what stands in env_vars goes as it would without a word
    plan = _plan({"MY_TOKEN": "mine"}, secrets="netrc")
    assert plan.handover.variables["MY_TOKEN"] == "mine"


def test_netrc_without_an_entry_is_refused_where_a_key_is_wanted() -> None:
    assert "NETRC" not in _plan(secrets="netrc").handover.variables
    _settings('[wandb]\nproject = "p"\nbase_url = "https://w.example.com"')
    with pytest.raises(SettingsError, match=r"wandb login --host=https://w\.example\.com"):
        _plan(secrets="netrc")


def test_over_ssh_the_login_of_the_cluster_counts() -> None:
    _log_in()
    ssh = {"tunnel": "ssh", "host": "h", "user": "u", "remote_job_dir": "/scratch"}
    plan = _plan(**CLUSTER, **ssh, secrets="netrc", env_vars={"LINEAGE_STORE": "/lustre/l"})
    assert plan.handover.variables == {"LINEAGE_STORE": "/lustre/l"}
    with pytest.raises(SettingsError, match="nothing is inherited over ssh"):
        _plan(**CLUSTER, **ssh, secrets="inherit", env_vars={"WANDB_API_KEY": "k"})


def test_ray_jobs_get_what_the_documents_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    plan = _plan(ray=True)
    assert plan.handover.variables["WANDB_API_KEY"] == KEY
    assert any("every user who can reach the cluster's head" in each for each in plan.notices)
    # nemo-run's template prints the environment into Ray's log
    monkeypatch.delenv("WANDB_API_KEY")
    netrc = _log_in()
    plan = _plan(ray=True, **CLUSTER)
    assert (plan.handover.variables["NETRC"], plan.handover.sourced) == (str(netrc), {})
    with pytest.raises(SettingsError, match="docker runs no Ray jobs"):
        _plan(ray=True, executor="docker", container_image="i")


def test_nothing_prints_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    for profile in ({}, CLUSTER):
        assert KEY not in repr(_plan({"MY_TOKEN": TOKEN}, **profile))
        assert TOKEN not in repr(_plan({"MY_TOKEN": TOKEN}, **profile))


def test_every_executor_says_where_secrets_rest() -> None:
    assert set(EXECUTORS) <= CARRIAGES.keys()
    for name, carriage in CARRIAGES.items():
        assert "env" in carriage.rests, name
        assert all(rest.place and rest.readers for rest in carriage.rests.values())


# ------------------------------------------------------------------------- the store


@pytest.mark.parametrize(
    ("store", "profile", "seen"),
    [
        ("/data/l.db", {}, "/data/l.db"),
        ("sqlite:////data/l.db", CLUSTER, "sqlite:////data/l.db"),
        ("file:///data/l", CLUSTER, "file:///data/l"),
        ("s3://bucket/l", {"executor": "lepton", "container_image": "i", "nemo_run_dir": "/d"},
         "s3://bucket/l"),
        ("/data/l.db", {"executor": "docker", "container_image": "i", "mounts": ["/data:/in"]},
         "/in/l.db"),
        ("/data/l.db", {**CLUSTER, "container_image": "i", "container_mounts": ["/data:/in:ro"]},
         "/in/l.db"),
        ("/data/l.db", {"executor": "docker", "container_image": "i"}, None),
        ("/data/l.db", {**CLUSTER, "container_image": "i", "mounts": ["/dat:/in"]}, None),
        ("memory:", {}, None),
    ],
)  # fmt: skip
def test_store_is_named_as_the_job_sees_it(
    monkeypatch: pytest.MonkeyPatch, store: str, profile: dict[str, Any], seen: str | None
) -> None:
    monkeypatch.setenv("LINEAGE_STORE", store)
    plan = _plan(**profile)
    assert plan.handover.variables.get("LINEAGE_STORE") == seen
    assert any("store" in each for each in plan.notices) is (seen is None)


# ------------------------------------------------------------------------- the sourced file


def _bash(script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], **environ},
    )  # fmt: skip


def test_what_is_sourced_is_what_was_meant(tmp_path: Path) -> None:
    values = {"A": "it's $HOME `id`", "B": '"; exit 3 #', "C": ""}
    held = sourced.hold(sourced.text(values, {}))
    path = Path(sourced.put(held, str(tmp_path)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    script = f". {path}; {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    seen = json.loads(_bash(script).stdout)
    assert {name: seen[name] for name in values} == values


def test_held_text_is_on_no_disk_and_gone_with_its_process() -> None:
    code = "from nemotron.kit.executors.sourced import hold; print(hold('secret'))"
    source = Path(__file__).parents[2] / "tools" / "ns"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(source)},
    )  # fmt: skip
    assert re.fullmatch(r"/proc/\d+/fd/\d+\n", done.stdout)
    assert not Path(done.stdout.strip()).exists()


def test_file_that_is_not_there_ends_the_job_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "secrets.sh"
    path.write_text(sourced.text({}, {"MY_KEY": str(tmp_path / "absent")}))
    done = _bash(f". {path}; echo went on")
    assert (done.returncode, done.stdout) == (78, "")
    assert f"{tmp_path}/absent is to hold MY_KEY, and cannot be read here" in done.stderr


def test_tracing_shows_nothing_of_what_is_sourced(tmp_path: Path) -> None:
    """As in a batch script of nemo-run, which traces all that it runs."""
    job = tmp_path / "job"
    job.mkdir()
    sourced.put(sourced.hold(sourced.text({"MY_KEY": "s3cret-value"}, {})), str(job))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "scontrol").write_text(
        f"#!/bin/sh\necho '   StdOut={job}/x.out'\necho ' Restarts=0 '\n"
    )
    (tools / "scontrol").chmod(0o755)
    script = (
        f"set -evx\n{sourced.setup_lines('echo mine')}\n[ $MY_KEY = s3cret-value ] && echo ok\n"
    )
    script = script.replace("[ $MY_KEY", "{ set +vx; } 2>/dev/null; [ $MY_KEY")
    (tmp_path / "batch.sh").write_text(script)
    path = f"{tools}:{os.environ['PATH']}"
    done = _bash(f"bash {tmp_path}/batch.sh", PATH=path, SLURM_JOB_ID="1")
    assert done.returncode == 0, done.stderr
    assert "mine\n" in done.stdout
    assert done.stdout.endswith("ok\n")
    assert done.stderr.count("s3cret") <= 1  # the line that this test compares by
    assert not list(job.rglob("secrets.sh"))


def test_archive_loses_env_toml_alone(tmp_path: Path) -> None:
    import tarfile

    for name in ("env.toml", "train.py", "sub/env.toml", "sub/my-env.toml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    archive = tmp_path / "code.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        for name in ("env.toml", "train.py", "sub"):
            packed.add(tmp_path / name, arcname=name)
    leave_out(str(archive))
    with tarfile.open(archive) as packed:
        assert sorted(packed.getnames()) == ["sub", "sub/my-env.toml", "train.py"]
    mine = tmp_path / "elsewhere" / "my-env.toml"  # the one that is read: by its name and text
    mine.parent.mkdir()
    mine.write_text("another text")
    leave_out(str(archive), str(mine))
    with tarfile.open(archive) as packed:
        assert "sub/my-env.toml" in packed.getnames()
    leave_out(str(archive), str(tmp_path / "sub" / "my-env.toml"))
    with tarfile.open(archive) as packed:
        assert sorted(packed.getnames()) == ["sub", "train.py"]
        member = packed.extractfile("train.py")
        assert member is not None
        assert member.read() == b"train.py"
    assert sorted(path.name for path in tmp_path.glob("code*")) == ["code.tar.gz"]


# ------------------------------------------------------------------------- without nemo-run


def test_missing_nemo_run_is_told_with_the_line_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nemo_run", None)  # type: ignore[arg-type]  # not installed
    with pytest.raises(
        ImportError, match=r"nemo-run, which is not installed.*leptonai>=0\.26\.6,<0"
    ):
        build_executor(RunConfig())


def test_broken_nemo_run_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nemo_run").mkdir()
    (tmp_path / "nemo_run" / "__init__.py").write_text("import leptonai.api.v1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nemo_run", raising=False)
    with pytest.raises(ImportError, match=r"is installed and fails to import: .*leptonai"):
        build_executor(RunConfig())


@pytest.mark.parametrize(
    ("profile", "sentence"),
    [
        ({"executor": "nope"}, "nope is none of local, docker, slurm"),
        ({"executor": "docker"}, "docker needs container_image"),
        ({"executor": "slurm"}, "slurm needs account, partition"),
        ({**CLUSTER, "account": " "}, "slurm needs account"),
        ({**CLUSTER, "tunnel": "ssh"}, "ssh needs host, user, remote_job_dir"),
        ({"secrets": "nope"}, "secrets: is none of env, file, netrc, inherit"),
        ({"job_name": "a b"}, "job_name: would be read by a shell"),
    ],
)
def test_what_is_off_is_said_before_nemo_run_is_imported(
    monkeypatch: pytest.MonkeyPatch, profile: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setitem(sys.modules, "nemo_run", None)  # type: ignore[arg-type]  # not installed
    with pytest.raises(ValueError, match=sentence):
        build_executor(RunConfig(**profile))


def test_importing_the_executors_imports_no_nemo_run() -> None:
    loaded = loaded_by("import nemotron.kit.run")
    assert "nemotron.kit.executors.building" in loaded
    assert not {name for name in loaded if name.startswith(("nemo_run", "ray", "wandb"))}
