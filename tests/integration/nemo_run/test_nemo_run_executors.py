"""Every executor of the real nemo-run is made from a profile, and carries what the job needs."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tarfile
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.integration.nemo_run.fleet import KEY, NEEDED, TOKEN, build, project

from nemotron.kit import RunConfig, SettingsError, build_executor
from nemotron.kit.config.runconfig import KEYS
from nemotron.kit.config.schema import EXECUTORS
from nemotron.kit.executors.classes import CLASSES, accepted

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of what nemo-run imports
    run = pytest.importorskip("nemo_run")

# ------------------------------------------------------------------------- the constructors


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_is_the_real_class(executor: str) -> None:
    made = build(executor)
    assert type(made).__name__ == CLASSES[executor]
    assert type(made.clone()) is type(made)  # what an experiment does with it


@pytest.mark.parametrize("executor", EXECUTORS)
def test_documented_variables_are_there(executor: str) -> None:
    project(project="nemotron", entity="my-team")
    variables = build(executor).env_vars
    assert (variables["WANDB_PROJECT"], variables["WANDB_ENTITY"]) == ("nemotron", "my-team")
    sourced = executor in ("slurm", "dgxcloud")  # the job sees them, by a file
    assert variables.get("WANDB_API_KEY") == (None if sourced else KEY)
    assert variables.get("HF_TOKEN") == (None if sourced else TOKEN)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_documented_form_is_there_when_it_is_asked_for(executor: str) -> None:
    assert build(executor, secrets="env").env_vars["WANDB_API_KEY"] == KEY


def test_project_alone_and_entity_alone_are_passed_alone() -> None:
    project(project="nemotron")
    assert "WANDB_ENTITY" not in build("local").env_vars
    project(entity="my-team")
    variables = build("local").env_vars
    assert "WANDB_PROJECT" not in variables
    assert variables["WANDB_ENTITY"] == "my-team"


def test_without_a_file_the_key_is_passed_alone() -> None:
    variables = build("local").env_vars
    assert {name for name in variables if name.startswith("WANDB")} == {"WANDB_API_KEY"}


def test_explicit_values_win() -> None:
    project(project="nemotron")
    given = {"WANDB_PROJECT": "mine", "WANDB_API_KEY": "given"}
    made = build("local", given, env_vars={"WANDB_PROJECT": "profile", "A": "1"})
    assert made.env_vars["WANDB_PROJECT"] == "mine"
    assert made.env_vars["WANDB_API_KEY"] == "given"
    assert made.env_vars["A"] == "1"


def test_rest_of_the_section_is_passed_on() -> None:
    project(
        project="p", group="g", job_type="training", mode="offline", run_name="first",
        base_url="https://wandb.example.com", notes="why it is",
    )  # fmt: skip
    variables = build("local").env_vars
    expected = {
        "WANDB_GROUP": "g", "WANDB_RUN_GROUP": "g", "WANDB_JOB_TYPE": "training",
        "WANDB_MODE": "offline", "WANDB_NAME": "first", "WANDB_NOTES": "why it is",
        "WANDB_BASE_URL": "https://wandb.example.com",
    }  # fmt: skip
    assert expected.items() <= variables.items()


def test_keys_of_the_profile_are_the_fields_of_the_class() -> None:
    made = build("local", nodes=2, nproc_per_node=4, launcher="torchrun")
    assert (made.nodes, made.ntasks_per_node, made.launcher) == (2, 4, "torchrun")
    assert (build("local").launcher, build("local").nnodes()) == (None, 1)

    made = build("docker", nproc_per_node=8, runtime="nvidia", mounts=["/a:/a"], volumes=["/b:/b"])
    assert (made.ntasks_per_node, made.num_gpus, made.volumes) == (8, 8, ["/a:/a", "/b:/b"])
    assert (build("docker").runtime, build("docker").num_gpus) == (None, None)

    made = build(
        "slurm", nodes=2, nproc_per_node=8, time="01:00:00", mounts=["/a:/a"], mem="0",
        container_mounts=["/b:/b"], exclusive=True, run_partition="debug",
    )  # fmt: skip
    assert (made.nodes, made.ntasks_per_node, made.time) == (2, 8, "01:00:00")
    assert (made.container_mounts, made.exclusive, made.mem) == (["/a:/a", "/b:/b"], True, "0")
    assert made.partition == "debug"
    assert build("slurm", detach=True, batch_partition="long").partition == "long"
    assert type(made.tunnel).__name__ == "LocalTunnel"

    made = build("skypilot", nodes=2, mounts=["/here:/there"])
    assert (made.num_nodes, made.gpus, made.gpus_per_node) == (2, "A100", 8)
    assert made.file_mounts == {"/there": "/here"}

    made = build("dgxcloud", nproc_per_node=8)
    assert (made.client_id, made.client_secret) == ("me", "client-secret")
    assert (made.gpus_per_node, made.nprocs_per_node) == (8, 8)

    made = build("lepton", mounts=[{"path": "/a", "mount_path": "/a"}], resource_shape="gpu")
    assert (made.mounts, made.resource_shape) == ([{"path": "/a", "mount_path": "/a"}], "gpu")

    made = build("kubeflow", nodes=3, nproc_per_node=8)
    assert (made.image, made.num_nodes, made.nprocs_per_node) == ("image", 3, 8)

    made = build("kuberay", worker_groups=[{"group_name": "w", "replicas": 2}])
    assert made.worker_groups[0].replicas == 2


def test_ssh_is_not_tried_before_a_job_is_submitted() -> None:
    made = build("slurm", tunnel="ssh", host="login.example.com", user="me", port=2222,
                  remote_job_dir="/scratch/me", identity="~/.ssh/id")  # fmt: skip
    tunnel = made.tunnel
    assert (type(tunnel).__name__, tunnel.host, tunnel.user, tunnel.port, tunnel.job_dir) == (
        "SSHTunnel", "login.example.com", "me", 2222, "/scratch/me",
    )  # fmt: skip
    assert tunnel.identity == os.path.expanduser("~/.ssh/id")


def test_rsync_accepts_new_hosts_and_checks_known_ones() -> None:
    import sys

    build("slurm", tunnel="ssh", host="h", user="me", remote_job_dir="/scratch")
    build("slurm", tunnel="ssh", host="h", user="me", remote_job_dir="/scratch")
    calls: list[str] = []

    class Connection:
        connect_kwargs: ClassVar[dict[str, Any]] = {}
        user, host, port = "me", "h", 22

        def run(self, command: str, **_: Any) -> None:
            calls.append(command)

        def local(self, command: str, **_: Any) -> Any:
            calls.append(command)
            return type("Result", (), {"command": command})

    for module in (
        "nemo_run.run.experiment",
        "nemo_run.run.ray.slurm",
        "nemo_run.core.tunnel.rsync",
    ):
        sys.modules[module].rsync(Connection(), "/from", "/to")  # type: ignore[attr-defined]
        assert calls[-1].count("StrictHostKeyChecking=accept-new") == 1
        assert "BatchMode=yes" in calls[-1]


def test_container_sees_our_variables_and_not_those_of_its_image() -> None:
    project(project="nemotron")
    made = build("slurm", {"A": "1"}, container_image="image", container_env=["MINE"])
    expected = {"MINE", "A", "WANDB_PROJECT", "WANDB_API_KEY", "HF_TOKEN"}
    assert expected <= set(made.container_env)


def test_store_is_handed_over_where_the_job_can_reach_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = str(tmp_path / "lineage.db")
    assert build("local").env_vars["LINEAGE_STORE"] == store
    assert build("slurm").env_vars["LINEAGE_STORE"] == store
    assert "LINEAGE_STORE" not in build("docker").env_vars
    assert "the job gets no store" in caplog.text
    mounted = build("docker", mounts=[f"{tmp_path}:/mounted"])
    assert mounted.env_vars["LINEAGE_STORE"] == "/mounted/lineage.db"
    mounted = build("slurm", container_image="image", mounts=[f"{tmp_path}:/mounted"])
    assert mounted.env_vars["LINEAGE_STORE"] == "/mounted/lineage.db"
    said = build("dgxcloud", env_vars={"LINEAGE_STORE": "/volume/lineage"})
    assert said.env_vars["LINEAGE_STORE"] == "/volume/lineage"


# ------------------------------------------------------------------------- what is refused


def test_all_that_is_missing_is_said_before_nemo_run_is_asked() -> None:
    for executor, needed in NEEDED.items():
        lacking = [key for key in KEYS if executor in KEYS[key].needs]
        if not lacking:
            continue
        with pytest.raises(ValueError, match=f"{executor} needs {', '.join(lacking)}"):
            build_executor(RunConfig(executor=executor))
        for key in set(lacking) & needed.keys():
            with pytest.raises(ValueError, match=key):
                build(executor, **{key: None})


def test_key_that_the_installed_class_does_not_take_is_named() -> None:
    with pytest.raises(SettingsError, match=r"nope: is not taken by SlurmExecutor of nemo-run 0"):
        build("slurm", options={"nope": 1})
    with pytest.raises(SettingsError, match=r"ulimits: is not taken .* it is for docker"):
        build("slurm", options={"ulimits": ["a:1:1"]})


def test_common_key_without_a_field_is_said(caplog: pytest.LogCaptureFixture) -> None:
    build("local", container_image="image", mounts=["/a:/a"])
    assert "container_image is ignored: the executor local has none" in caplog.text
    assert "mounts is ignored" in caplog.text


def test_every_key_is_a_field_of_the_classes_that_it_is_for() -> None:
    """What the profiles accept is what the installed release takes."""
    ours = {
        "ray_mode", "ray_working_dir", "run_partition", "batch_partition", "tunnel", "host", "user",
        "identity", "port", "remote_job_dir", "build_partition", "build_time", "build_cache_dir",
    }  # fmt: skip
    for name, key in KEYS.items():
        for executor in key.executors:
            assert name in accepted(executor) or name in ours, f"{name} of {executor}"


@pytest.mark.parametrize(
    ("secrets", "executor", "sentence"),
    [
        ("file", "local", "file is no way to hand over a secret here"),
        ("inherit", "docker", "choose one of env, netrc"),
        ({"WANDB_API_KEY": "secret:a/b"}, "slurm", "choose one of file, netrc, inherit, file:"),
        ({"WANDB_API_KEY": "secret:a"}, "kubeflow", "names no key of the secret"),
        ({"MY_TOKEN": "netrc"}, "local", "no file stands for this variable"),
        ({"MY_TOKEN": "env"}, "local", "is not set here; export it"),
        ({"WANDB_API_KEY": "netrc"}, "local", "no file that holds WANDB_API_KEY; run: wandb login"),
    ],
)  # fmt: skip
def test_form_that_cannot_be_is_refused(secrets: Any, executor: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        build(executor, secrets=secrets)


@pytest.mark.parametrize("executor", ["dgxcloud", "kubeflow"])
def test_value_that_no_quoting_serves_is_refused(executor: str) -> None:
    for value in ("a b", "$HOME", "a;b", "`id`", "${oc.env:HOME}", "a'b"):
        with pytest.raises(SettingsError, match=f"A: has a value that {executor} cannot carry"):
            build(executor, {"A": value})


@pytest.mark.parametrize("executor", ["slurm", "dgxcloud"])
def test_name_that_would_arrive_in_capitals_is_refused(executor: str) -> None:
    with pytest.raises(SettingsError, match="would arrive as LOWER"):
        build(executor, {"lower": "1"})


@pytest.mark.parametrize("executor", EXECUTORS)
def test_no_error_shows_a_secret(executor: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build(executor, {"MY_TOKEN": f"{KEY}\n"})
    assert KEY not in str(caught.value)


# ------------------------------------------------------------------------- handing over


def test_secret_references_of_clusters() -> None:
    secrets = {"WANDB_API_KEY": "secret:wandb/key", "HF_TOKEN": "secret:hub/token"}
    wanted = {"name": "WANDB_API_KEY",
              "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "key"}}}  # fmt: skip
    body = build("kubeflow", {"A": "1"}, secrets=secrets).get_job_body("j", ["true"])
    env = body["spec"]["trainer"]["env"]
    assert wanted in env
    assert {"name": "A", "value": "1"} in env
    assert KEY not in json.dumps(body)

    body = build("kuberay", {"A": "1"}, secrets=secrets).get_cluster_body("cluster")
    (container,) = body["spec"]["headGroupSpec"]["template"]["spec"]["containers"]
    assert wanted in container["env"]
    assert {"name": "A", "value": "1"} in container["env"]
    assert KEY not in json.dumps(body)

    made = build("lepton", secrets={"WANDB_API_KEY": "secret:wandb"})
    assert made.secret_vars == {"WANDB_API_KEY": "wandb"}
    assert "WANDB_API_KEY" not in made.env_vars


@pytest.mark.parametrize("executor", ["lepton", "kubeflow", "kuberay"])
def test_exposed_key_is_told_in_one_line(executor: str, caplog: pytest.LogCaptureFixture) -> None:
    build(executor)
    (line,) = [each for each in caplog.messages if "can be read by" in each]
    assert "WANDB_API_KEY, HF_TOKEN can be read by whoever may read" in line
    assert 'secrets = { WANDB_API_KEY = "secret:' in line
    assert KEY not in line


def test_path_of_a_netrc_file_is_handed_over(tmp_path: Path) -> None:
    netrc = Path(os.environ["HOME"]) / ".netrc"
    netrc.write_text(f"machine api.wandb.ai login user password {KEY}\n")
    netrc.chmod(0o600)
    secrets = {"WANDB_API_KEY": "netrc"}
    assert build("local", secrets=secrets).env_vars["NETRC"] == str(netrc)
    made = build("docker", secrets=secrets)
    assert made.env_vars["NETRC"] == "/run/secrets/netrc"
    assert f"{netrc}:/run/secrets/netrc:ro" in made.volumes
    assert KEY not in str(made)
    made = build("slurm", secrets=secrets, container_image="image")
    assert f"{netrc}:/run/secrets/netrc:ro" in made.container_mounts
    assert "NETRC" in made.container_env
    made = build("skypilot", secrets=secrets)
    assert made.file_mounts == {"~/.netrc": str(netrc)}
    assert KEY not in str(made)


def test_home_of_nemo_run_is_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        (tmp_path / "nemo").mkdir()
        build("local")
        for name in ("nemo", "nemo/experiments"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
    finally:
        os.umask(before)


# ------------------------------------------------------------------------- the packager


def _git(*words: str) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


@pytest.mark.parametrize("kind", ["git", "pattern", "hybrid"])
def test_env_toml_is_never_packaged_and_secrets_lie_beside(kind: str, tmp_path: Path) -> None:
    Path("sub").mkdir()
    for name in ("env.toml", "train.py", "sub/env.toml", "sub/more.py"):
        Path(name).write_text("# here")
    _git("init", "-q")
    _git("add", "-A")
    _git("commit", "-qm", "first")
    patterns = [str(tmp_path / name) for name in ("env.toml", "train.py")]
    made = build("slurm", packager=kind, packager_include_pattern=patterns)
    job = tmp_path / "job"
    job.mkdir()
    archive = made.packager.package(tmp_path, str(job), "task")
    with tarfile.open(archive) as packed:
        names = [name for name in packed.getnames() if name.endswith((".py", ".toml"))]
    assert "env.toml" not in {name.rpartition("/")[2] for name in names}
    assert "train.py" in {name.rpartition("/")[2] for name in names}
    file = job / ".lineage" / "secrets.sh"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert f"export WANDB_API_KEY={KEY}" in file.read_text()


def test_job_gets_a_packager_that_needs_nothing_of_ours() -> None:
    made = build("slurm", packager="git")
    config = made.packager.to_config()
    assert config.__fn_or_cls__ is run.GitArchivePackager
    assert "nemotron" not in str(config)
    assert isinstance(made.packager, run.GitArchivePackager)  # as nemo-run tells them apart


def test_no_field_of_a_profile_was_forgotten() -> None:
    assert {spec.name for spec in fields(RunConfig)} == {*KEYS, "options"}
