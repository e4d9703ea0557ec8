"""env.toml: how it is found, what a profile comes to, and what each mistake is answered with."""

from __future__ import annotations

import json
import logging
import os
import pickle
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nemotron.kit.config import (
    RunConfig,
    SettingsError,
    list_run_profiles,
    load_run_profile,
    load_settings,
    wandb_state,
)
from nemotron.kit.config.profiles import resolve
from nemotron.kit.config.reading import read
from nemotron.kit.config.runconfig import KEYS
from nemotron.kit.config.schema import EXECUTORS
from nemotron.lineage import LineageError, StoreError, find_settings, settings_folders
from nemotron.lineage.settings import choose_store

from ..architecture.test_layers import loaded_by

Write = Callable[[str], Path]
TOKEN = "hf_" + "a1B2c3D4" * 4  # looks like a secret wherever it stands
PASSWORD = "correct horse battery"  # does not

# the forms of the public documents, with the names that they use
EARLIER = """
[wandb]
project = "nemotron"
entity = "YOUR-TEAM"

[YOUR-CLUSTER]
executor = "slurm"
account = "YOUR-ACCOUNT"
partition = "batch"
nodes = 2
ntasks_per_node = 8
gpus_per_node = 8
mounts = ["/lustre:/lustre"]
run_partition = "interactive" # For --run (attached)
batch_partition = "backfill"  # For --batch (detached)
packager = "pattern"
packager_include_pattern = "src/**/*.py"

[base-slurm]
executor = "slurm"
account = "my-account"
partition = "gpu"
time = "04:00:00"

[YOUR-CLUSTER-mid]
extends = "base-slurm"
nodes = 4
ntasks_per_node = 8
gpus_per_node = 8

[YOUR-CLUSTER-large]
extends = "YOUR-CLUSTER-mid"
nodes = 16
time = "08:00:00"
"""
LATER = """
[wandb]
project = "nemotron"
entity = "my-team"

[artifacts]
wandb = true

[artifacts.manifest]
root = "/lustre/team/artifacts"

[cache]
git_dir = "/lustre/users/me/git-cache"

[cli]
theme = "github-light"     # Rich console theme

[my-cluster]
executor = "slurm"
account = "my-account"
partition = "batch"
run_partition = "interactive"
batch_partition = "batch"
tunnel = "ssh"
host = "cluster.example.com"
user = "username"
remote_job_dir = "/lustre/users/me/run"
time = "04:00:00"
nodes = 2
ntasks_per_node = 8
gpus_per_node = 8
mem = "0"
exclusive = true
container_image = "/path/to/image.sqsh"
mounts = ["/lustre:/lustre"]
startup_commands = ["source /opt/env.sh"]
build_partition = "cpu"
build_time = "02:00:00"
build_cache_dir = "/lustre/cache"

[dgxcloud]
executor = "dgxcloud"
base_url = "https://your-dgxcloud-instance.example.com/api/v1"
kube_apiserver_url = "https://your-dgxcloud-k8s.example.com"
client_id = "YOUR-CLIENT-ID"          # `app_id` accepted as legacy alias
client_secret = "env:CLIENT_SECRET"  # `app_secret` accepted as legacy alias
project_name = "YOUR-PROJECT"
container_image = "nvcr.io/nvidia/nemo:latest"
pvc_nemo_run_dir = "/pvc/nemo_run"
nodes = 2
gpus_per_node = 8
nprocs_per_node = 8
pvcs = [
    { claimName = "my-pvc", path = "/pvc", readOnly = false }
]

[dgxcloud-runai]
extends = "dgxcloud"
custom_spec = { schedulerName = "runai-scheduler" }

[lepton]
executor = "lepton"
container_image = "nvcr.io/nvidia/nemo:latest"
nemo_run_dir = "/nemo_run"
nodes = 2
gpus_per_node = 8
resource_shape = "gpu.h100.8"
node_group = "my-node-group"
shared_memory_size = 65536
mounts = [
    { path = "/data", mount_path = "/data" }
]
pre_launch_commands = ["pip install my-package"]

[docker]
executor = "docker"
container_image = "nvcr.io/nvidia/nemo:latest"
gpus_per_node = 8
runtime = "nvidia"
mounts = ["/data:/data"]

[local]
executor = "local"
nproc_per_node = 8
"""
SLURM = '[p]\nexecutor = "slurm"\naccount = "a"\npartition = "b"\n'
DGX = (
    '[p]\nexecutor = "dgxcloud"\nbase_url = "https://x"\nkube_apiserver_url = "https://y"\n'
    'client_id = "i"\nproject_name = "n"\ncontainer_image = "c"\npvc_nemo_run_dir = "/v"\n'
)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write env.toml, for the user alone."""

    def write(text: str, mode: int = 0o600) -> Path:
        path = tmp_path / "env.toml"
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


# ------------------------------------------------------------------------- finding


def test_file_is_searched_upwards_and_not_beyond_a_project(tmp_path: Path, write: Write) -> None:
    write("[p]")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    os.chdir(deep)
    assert list_run_profiles() == ["p"]
    (tmp_path / "a" / "pyproject.toml").touch()
    assert list_run_profiles() == []
    assert load_settings() is None
    assert list(settings_folders(".")) == [str(deep), str(deep.parent)]
    with pytest.raises(SettingsError) as caught:
        load_run_profile("p")
    assert str(caught.value) == (
        f"[p]: there is no env.toml in {deep}, {deep.parent}; "
        "write one there, or set NEMOTRON_ENV_FILE to the path of one"
    )


def test_variable_beats_the_search_and_an_argument_beats_both(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("[found]")
    (tmp_path / "home" / "named.toml").write_text("[named]")
    (tmp_path / "given.toml").write_text("[given]")
    monkeypatch.setenv("NEMOTRON_ENV_FILE", "~/named.toml")
    assert list_run_profiles() == ["named"]
    assert list_run_profiles("given.toml") == list_run_profiles(Path("given.toml")) == ["given"]
    monkeypatch.setenv("NEMOTRON_ENV_FILE", "/nowhere/env.toml")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == (
        "/nowhere/env.toml: is not there, and NEMOTRON_ENV_FILE names it; "
        "correct that variable, or unset it"
    )
    with pytest.raises(StoreError, match="is not there"):
        find_settings(os.environ, ".")
    with pytest.raises(SettingsError, match=r"/no\.toml: is not there; correct the path"):
        load_settings("no.toml")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[p]\nnodes = \n", "is no TOML: Invalid value (at line 2, column 9); correct it there"),
        (b"[p\n", ("is no TOML: Expected ']' at the end of a table declaration (at line 1, "
         "column 3); correct it there")),
        (b"a = '\xff'", ("is no TOML: 'utf-8' codec can't decode byte 0xff in position 5: invalid "
         "start byte; correct it there")),
        (b"a = " + b"[" * 100_000, "is no TOML: maximum recursion depth exceeded"),
    ],
)  # fmt: skip
def test_what_is_no_toml_is_placed(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "env.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{path}: {sentence}")


def test_file_that_cannot_be_opened_says_why(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    sentence = f"{path}: cannot be read (Permission denied); correct its permissions"
    assert str(caught.value) == sentence


def test_store_and_kit_read_the_same_section(write: Write) -> None:
    path = write('[artifacts]\nstore = "lineage.db"\n')
    found = load_settings()
    assert found is not None
    assert found.artifacts is not None
    assert found.artifacts.store == "lineage.db"
    assert choose_store(None)[0] == str(path.parent / "lineage.db")
    write("artifacts = 3")
    with pytest.raises(StoreError, match=r"artifacts must be a section, \[artifacts\]"):
        choose_store(None)


def test_reader_stands_on_the_standard_library() -> None:
    loaded = loaded_by(
        "import os; os.chdir('/'); import nemotron.kit.config as c; c.load_settings()"
    )
    assert not {name.partition(".")[0] for name in loaded} & {
        "omegaconf", "pydantic", "wandb", "nemo_run", "yaml",
    }  # fmt: skip


# ------------------------------------------------------------- the documented forms


def test_earlier_form_is_read(write: Write) -> None:
    write(EARLIER)
    found = load_settings()
    assert found is not None
    assert found.wandb == {"entity": "YOUR-TEAM", "project": "nemotron"}
    assert (wandb_state(found), found.remarks) == ("enabled", ())
    config = load_run_profile("YOUR-CLUSTER")
    assert (config.executor, config.account, config.nproc_per_node) == ("slurm", "YOUR-ACCOUNT", 8)
    assert (config.run_partition, config.mounts) == ("interactive", ["/lustre:/lustre"])
    large = load_run_profile("YOUR-CLUSTER-large")
    assert (large.nodes, large.time, large.account) == (16, "08:00:00", "my-account")
    assert large.gpus_per_node == 8


def test_later_form_is_read(write: Write) -> None:
    path = write(LATER)
    found = load_settings(str(path))
    assert found is not None
    assert found.artifacts is not None
    assert found.artifacts.backends == ("file", "wandb")
    assert found.artifacts.root == "/lustre/team/artifacts"
    assert (found.cache, found.cli) == (
        {"git_dir": "/lustre/users/me/git-cache"}, {"theme": "github-light"},
    )  # fmt: skip
    configs = {name: load_run_profile(name, path) for name in list_run_profiles(path)}
    assert list(configs) == [
        "my-cluster", "dgxcloud", "dgxcloud-runai", "lepton", "docker", "local",
    ]  # fmt: skip
    assert configs["my-cluster"].exclusive is True
    assert configs["dgxcloud-runai"].custom_spec == {"schedulerName": "runai-scheduler"}
    assert configs["dgxcloud-runai"].nproc_per_node == 8
    assert configs["lepton"].mounts == [{"path": "/data", "mount_path": "/data"}]
    assert configs["docker"].runtime == "nvidia"


def test_documented_spelling_of_artifacts_is_read(write: Write) -> None:
    for text, backends, root in (
        ('backend = "file"\nroot = "/path/to/artifacts"', ("file",), "/path/to/artifacts"),
        ('backends = ["file", "wandb"]\nroot = "/a"', ("file", "wandb"), "/a"),
        ('backend = "wandb"', ("wandb",), None),
        ('root = "file:///a"', ("file",), "file:///a"),
        ("wandb = false", (), None),
        ('manifest = { root = "s3://bucket/a" }', ("file",), "s3://bucket/a"),
    ):
        write(f"[artifacts]\n{text}\n")
        found = load_settings()
        assert found is not None
        assert found.artifacts is not None
        assert (found.artifacts.backends, found.artifacts.root) == (backends, root)


def test_wandb_section_is_brought_to_one_form(write: Write) -> None:
    write('[wandb]\nproject = " p "\nname = "n"\ntags = ["a", "b"]\nmode = "offline"\n')
    found = load_settings()
    assert found is not None
    assert found.wandb == {
        "run_name": "n", "tags": ("a", "b"), "mode": "offline", "project": "p",
    }  # fmt: skip


def test_sections_are_never_interpolated(write: Write) -> None:
    for text in ('wandb = { tags = "${x}" }', 'artifacts = { manifest = "${x}" }'):
        write(text)
        with pytest.raises(SettingsError, match=r"must be a (list of texts|table), not a text"):
            load_settings()


def test_wandb_state_tells_what_is_missing(write: Write) -> None:
    assert wandb_state(load_settings()) == "file missing"
    write("[p]")
    assert wandb_state(load_settings()) == "section missing"
    write("[wandb]\nnotes = 'n'")
    assert wandb_state(load_settings()) == "project missing"


# ------------------------------------------------------------------- what it comes to


def test_defaults_are_the_documented_ones(write: Write) -> None:
    write("[p]")
    config = load_run_profile("p")
    assert config == RunConfig()
    told = (config.executor, config.time, config.job_name, config.tunnel, config.ray_mode)
    assert told == ("local", "04:00:00", "nemo-run", "local", "job")
    assert (config.env_vars, config.detach, config.dry_run) == ({}, False, False)


def test_parents_are_merged_as_tables_before_defaults(write: Write) -> None:
    write(
        """
        [base]
        executor = "dgxcloud"
        time = "01:00:00"
        custom_spec = { a = { x = 1, y = 2 }, b = 1 }
        env_vars = { A = "1", B = "1" }
        startup_commands = ["base"]
        [gpu]
        gpus_per_node = 8
        custom_spec = { b = 2 }
        [p]
        extends = ["base", "gpu"]
        executor = "lepton"
        container_image = "c"
        nemo_run_dir = "/n"
        custom_spec.a.y = 3
        env_vars = { B = "2" }
        startup_commands = ["own"]
        """
    )
    found = read()
    profile = resolve(found, "p")
    assert profile.config.custom_spec == {"a": {"x": 1, "y": 3}, "b": 2}
    assert profile.config.env_vars == {"A": "1", "B": "2"}
    assert (profile.config.startup_commands, profile.config.time) == (["own"], "01:00:00")
    assert profile.origins["custom_spec", "a", "x"] == "base"
    assert profile.origins["custom_spec", "b"] == "gpu"
    assert profile.origins["env_vars", "B"] == "p"
    assert found is not None
    assert found.profiles["base"]["custom_spec"] == {"a": {"x": 1, "y": 2}, "b": 1}


def test_two_ways_to_one_parent_are_no_circle(write: Write) -> None:
    write('[a]\nnodes=1\n[b]\nextends="a"\nnodes=2\n[c]\nextends="a"\n[d]\nextends=["b","c"]')
    assert load_run_profile("d").nodes == 1


def test_child_may_use_another_name_of_its_parents_key(write: Write) -> None:
    write('[a]\nnproc_per_node = 8\n[b]\nextends = "a"\nntasks_per_node = 4\n')
    assert load_run_profile("b").nproc_per_node == 4


def test_tables_and_lists_replace_each_other(write: Write) -> None:
    write(
        '[a]\nenv_vars = ["A=1"]\n[b]\nextends = "a"\nenv_vars = { B = 2 }\n'
        '[c]\nextends = "b"\nenv_vars = ["C=x=y"]\n[d]\nextends = "b"\nenv_vars = {}\n'
        '[e]\nextends = "a"\nenv_vars = {}\n'
    )
    found = [load_run_profile(name).env_vars for name in "abcde"]
    assert found == [{"A": "1"}, {"B": "2"}, {"C": "x=y"}, {"B": "2"}, {}]


def test_command_line_wins(write: Write) -> None:
    write(f'{SLURM}mem = "1G"\nenv_vars = ["A=1", "B=1"]\n')
    config = load_run_profile(
        "p",
        overrides=[
            "nodes=4", "mem=0", "time=01:00:00", "exclusive=true", "env_vars.B=2", "env_vars.C=x y",
            'mounts=["/a:/b"]', "ntasks_per_node=2", "job_name=a=b", "exclusive=user",
            "additional_parameters.nice=3", "secrets.WANDB_API_KEY=netrc",
        ],
    )  # fmt: skip
    assert (config.nodes, config.mem, config.time) == (4, "0", "01:00:00")
    assert config.env_vars == {"A": "1", "B": "2", "C": "x y"}
    assert (config.mounts, config.nproc_per_node, config.job_name) == (["/a:/b"], 2, "a=b")
    assert (config.exclusive, config.additional_parameters) == ("user", {"nice": 3})
    assert config.secrets == {"WANDB_API_KEY": "netrc"}
    assert (
        load_run_profile("p", overrides=["executor=docker", "container_image=x"][:0]).nodes is None
    )


def test_interpolations_are_left_as_they_stand(write: Write) -> None:
    write('[p]\nnodes = "${oc.env:N}"\nenv_vars = { HF_TOKEN = "${oc.env:HF_TOKEN,x}" }\n')
    profile = resolve(read(), "p")
    assert profile.config.nodes == "${oc.env:N}"
    assert profile.remarks == ()


def test_keys_that_only_the_installed_class_knows_are_options(write: Write) -> None:
    write(f"{SLURM}brand_new = 3\nvolumes = ['/a:/b']\n")
    asked = []

    def accepts(executor: str) -> list[str]:
        asked.append(executor)
        return ["brand_new", "volumes"]

    config = load_run_profile("p", accepts=accepts)
    assert (config.options, asked) == ({"brand_new": 3, "volumes": ["/a:/b"]}, ["slurm"])
    write(SLURM)
    load_run_profile("p", accepts=lambda _: pytest.fail("there was nothing to ask"))


def test_config_is_made_in_code_as_documented() -> None:
    config = RunConfig(executor="slurm", account="a", partition="b", env_vars=["A=1"])  # type: ignore[arg-type]  # the documented form
    assert config.env_vars == {"A": "1"}
    assert "A" in repr(config)
    with pytest.raises(SettingsError) as caught:
        RunConfig(env_vars=["A"])  # type: ignore[arg-type]  # that is the point
    assert str(caught.value) == "env_vars: entry A has no =; write it as KEY=value"


def test_every_key_is_described_and_owned() -> None:
    for key in KEYS.values():
        assert key.help
        assert set(key.executors) | set(key.needs) <= set(EXECUTORS)
        for executor in EXECUTORS:
            assert key.kinds_for(executor)


# ---------------------------------------------------------------------------- mistakes

MISTAKES = {
    "unknown profile": (
        "[p]\n[gpu]",
        "FILE: there is no profile q; the profiles are p, gpu",
    ),
    "unknown profile that is near": (
        "[p-large]\n[q1]",
        "FILE: there is no profile q; did you mean q1? the profiles are p-large, q1",
    ),
    "no profile at all": ("", "FILE: there is no profile q; there are no profiles"),
    "key unknown everywhere": (
        "[q]\nnproc_per_nod = 8",
        "FILE [q] nproc_per_nod: is no key of a profile; did you mean nproc_per_node?",
    ),
    "key unknown in a parent": (
        '[base]\nzzz = 8\n[q]\nextends = "base"',
        "FILE [base] zzz: is no key of a profile; correct its name, or remove it",
    ),
    "key of another executor": (
        '[q]\nexecutor = "docker"\nray_mode = "job"',
        (
            "FILE [q] ray_mode: is a key of slurm, kuberay, and the executor is docker; "
            "remove it, or choose another executor"
        ),
    ),
    "unknown executor": (
        '[q]\nexecutor = "slrum"',
        (
            "FILE [q] executor: slrum is none of local, docker, slurm, skypilot, dgxcloud, lepton, "
            "kubeflow, kuberay; did you mean slurm?"
        ),
    ),
    "executor that is interpolated": (
        '[q]\nexecutor = "${oc.env:X}"',
        (
            "FILE [q] executor: '${oc.env:X}' is none of local, docker, slurm, skypilot, "
            "dgxcloud, lepton, kubeflow, kuberay; choose one of them"
        ),
    ),
    "extends unknown": (
        '[base]\n[q]\nextends = "bass"',
        "FILE [q] extends: there is no profile bass; did you mean base? the profiles are base, q",
    ),
    "extends a section": (
        '[cache]\n[q]\nextends = "cache"',
        "FILE [q] extends: cache is reserved and cannot be extended; the profiles are q",
    ),
    "extends in a circle": (
        '[q]\nextends = "a"\n[a]\nextends = ["b"]\n[b]\nextends = "a"',
        "FILE [b] extends: goes in a circle: a -> b -> a; take one of them out",
    ),
    "extends itself": (
        '[q]\nextends = "q"',
        "FILE [q] extends: goes in a circle: q -> q; take one of them out",
    ),
    "extends of the wrong type": (
        "[q]\nextends = [1]",
        'FILE [q] extends: must be a text or a list of texts; write extends = "..."',
    ),
    "required fields": (
        '[q]\nexecutor = "dgxcloud"\nbase_url = " "\nclient_id = "i"\nclient_secret = "env:S"',
        (
            "FILE [q]: the executor dgxcloud needs container_image, base_url, kube_apiserver_url, "
            "project_name, pvc_nemo_run_dir; "
            "add what is missing here, or in a profile that it extends"
        ),
    ),
    "required fields of slurm": (
        '[q]\nexecutor = "slurm"',
        (
            "FILE [q]: the executor slurm needs account, partition; "
            "add what is missing here, or in a profile that it extends"
        ),
    ),
    "text for a number": (
        '[q]\nnodes = "4"',
        "FILE [q] nodes: must be a whole number, not a text; write nodes = 4",
    ),
    "true for a number": (
        "[q]\nnodes = true",
        "FILE [q] nodes: must be a whole number, not true or false; write nodes = 4",
    ),
    "time of day for a text": (
        "[q]\ntime = 04:00:00",
        'FILE [q] time: must be a text, not a date or time; write time = "..."',
    ),
    "mounts of slurm": (
        f'{SLURM.replace("[p]", "[q]")}mounts = [{{ path = "/a" }}]',
        (
            "FILE [q] mounts: must be a list of texts, not a list of something else; "
            'write mounts = ["..."]'
        ),
    ),
    "mounts of lepton": (
        '[q]\nexecutor = "lepton"\nmounts = ["/a:/b"]',
        (
            "FILE [q] mounts: must be a list of tables, not a list of something else; "
            'write mounts = [{ key = "..." }]'
        ),
    ),
    "pvcs": (
        '[q]\nexecutor = "dgxcloud"\npvcs = "claim"',
        'FILE [q] pvcs: must be a list of tables, not a text; write pvcs = [{ key = "..." }]',
    ),
    "unknown word": (
        '[q]\npackager = "gti"',
        "FILE [q] packager: gti is none of git, pattern, hybrid, none; did you mean git?",
    ),
    "two names of one key": (
        "[q]\nnproc_per_node = 8\nntasks_per_node = 8",
        (
            "FILE [q] ntasks_per_node: is another name of nproc_per_node, which is set too; "
            "keep one of them"
        ),
    ),
    "entry without =": (
        '[q]\nenv_vars = ["A=1", "NCCL_DEBUG"]',
        "FILE [q] env_vars: entry NCCL_DEBUG has no =; write it as KEY=value",
    ),
    "entry that may be a secret": (
        f'[q]\nenv_vars = ["A=1", "{PASSWORD}"]',
        "FILE [q] env_vars: entry number 2 has no =; write it as KEY=value",
    ),
    "variables of the wrong type": (
        "[q]\nenv_vars = 3",
        (
            "FILE [q] env_vars: must be a table or a list of KEY=value; "
            'write env_vars = { KEY = "value" }'
        ),
    ),
    "bad name of a variable": (
        '[q]\nenv_vars = { "1-a" = "x" }',
        (
            "FILE [q] env_vars.1-a: is no name of a variable; "
            "use letters, digits and _, and no digit first"
        ),
    ),
    "lower-case variable on slurm": (
        f'{SLURM.replace("[p]", "[q]")}env_vars = {{ http_proxy = "x" }}',
        (
            "FILE [q] env_vars.http_proxy: would arrive as HTTP_PROXY, since slurm upper-cases "
            "names (NVIDIA-NeMo/Run#234); write it so, or export it in startup_commands"
        ),
    ),
    "variable of the wrong type": (
        "[q]\nenv_vars = { A = true }",
        'FILE [q] env_vars.A: must be a text; write A = "..."',
    ),
    "value with a newline": (
        f'[q]\nenv_vars = {{ A = "{PASSWORD}\\nx" }}',
        "FILE [q] env_vars.A: has a newline or a NUL in its value; remove it",
    ),
    "value with a NUL": (
        '[q]\nenv_vars = { A = "x\\u0000" }',
        "FILE [q] env_vars.A: has a newline or a NUL in its value; remove it",
    ),
    "value that dgxcloud cannot carry": (
        DGX.replace("[p]", "[q]") + f'client_secret = "env:S"\nenv_vars = {{ A = "{PASSWORD}" }}',
        (
            "FILE [q] env_vars.A: has a value that dgxcloud cannot carry as it is; "
            "use letters, digits and _ . / : @ , + = - alone"
        ),
    ),
    "value that kubeflow cannot carry": (
        '[q]\nexecutor = "kubeflow"\nenv_vars = { A = "a;b" }',
        (
            "FILE [q] env_vars.A: has a value that kubeflow cannot carry as it is; "
            "use letters, digits and _ . / : @ , + = - alone"
        ),
    ),
    "secrets": (
        '[q]\nsecrets = "fiel"',
        "FILE [q] secrets: is none of env, file, netrc, inherit; did you mean file?",
    ),
    "secrets of the wrong type": (
        "[q]\nsecrets = 3",
        'FILE [q] secrets: must be a text or a table; write secrets = "env"',
    ),
    "secret in place of its place": (
        f'[q]\nsecrets = {{ WANDB_API_KEY = "{PASSWORD}" }}',
        (
            "FILE [q] secrets.WANDB_API_KEY: is none of env, file, netrc, inherit, file:/path or "
            "secret:name/key; say where the secret is, not what it is"
        ),
    ),
    "secret of no variable": (
        '[q]\nsecrets = { "a b" = "env" }',
        (
            "FILE [q] secrets.'a b': is no name of a variable; "
            "use letters, digits and _, and no digit first"
        ),
    ),
    "ssh without its host": (
        f'{SLURM.replace("[p]", "[q]")}tunnel = "ssh"\nuser = "me"',
        (
            "FILE [q] tunnel: ssh needs host, remote_job_dir; "
            "add what is missing here, or in a profile that it extends"
        ),
    ),
    "api_key of W&B": (
        f'[wandb]\napi_key = "{PASSWORD}"',
        (
            "FILE [wandb] api_key: is a secret, and this file is no place for it; "
            "remove it and run: wandb login"
        ),
    ),
    "password of W&B": (
        f'[wandb]\npassword = "{PASSWORD}"',
        (
            "FILE [wandb] password: is a secret, and this file is no place for it; "
            "remove it and run: wandb login"
        ),
    ),
    "tags of W&B": (
        '[wandb]\ntags = "a,b"',
        'FILE [wandb] tags: must be a list of texts, not a text; write tags = ["..."]',
    ),
    "mode of W&B": (
        '[wandb]\nmode = "off"',
        "FILE [wandb] mode: off is none of online, offline, disabled; did you mean offline?",
    ),
    "two spellings of artifacts": (
        '[artifacts]\nbackend = "file"\nwandb = true\n[artifacts.manifest]\nroot = "/a"',
        (
            "FILE [artifacts]: backend and [artifacts.manifest] and wandb are two spellings of one "
            "thing; keep one of them"
        ),
    ),
    "two roots": (
        '[artifacts]\nroot = "/b"\n[artifacts.manifest]\nroot = "/a"',
        (
            "FILE [artifacts]: root and [artifacts.manifest] are two spellings of one thing; "
            "keep one of them"
        ),
    ),
    "root that is an address": (
        '[artifacts]\nbackend = "file"\nroot = "s3://bucket/a"',
        (
            "FILE [artifacts] root: is an address, and the backend file writes to a folder; "
            "name a folder, or write it as root of [artifacts.manifest]"
        ),
    ),
    "unknown backend": (
        '[artifacts]\nbackends = ["files"]',
        "FILE [artifacts] backends: files is none of file, wandb; did you mean file?",
    ),
    "unknown key of artifacts": (
        '[artifacts]\nstor = "x"',
        "FILE [artifacts] stor: is no key of this section; did you mean store?",
    ),
    "unknown key of the manifest": (
        '[artifacts.manifest]\npath = "x"',
        "FILE [artifacts.manifest] path: is no key of this section; the only one is root",
    ),
    "value outside of the tables": (
        "nodes = 4",
        "FILE nodes: stands outside of the tables; move it into one, or write [nodes]",
    ),
    "bad name of a profile": (
        '["-a b"]',
        (
            "FILE ['-a b']: is no name of a profile; "
            "use letters, digits, - and _, but begin with neither"
        ),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_answered_with_place_fact_and_advice(mistake: str, write: Write) -> None:
    text, sentence = MISTAKES[mistake]
    path = write(text)
    with pytest.raises(SettingsError) as caught:
        load_run_profile("q")
    error = caught.value
    assert str(error) == sentence.replace("FILE", str(path))
    assert (error.file, f"{error.fact}; {error.advice}") == (
        str(path), sentence.partition(": ")[2],
    )  # fmt: skip
    assert isinstance(error, ValueError)
    assert isinstance(error, LineageError)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.table, again.key) == (str(error), error.table, error.key)


@pytest.mark.parametrize("name", ["wandb", "artifacts", "cache", "cli"])
def test_section_is_no_profile(name: str, write: Write) -> None:
    path = write(f"[{name}]\n[p]")
    assert list_run_profiles() == ["p"]
    with pytest.raises(SettingsError) as caught:
        load_run_profile(name)
    assert str(caught.value) == f"{path}: {name} is not a profile; the profiles are p"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("nodes", "nodes: is no override; write it as key=value"),
        ("=4", "is no override; write it as key=value"),
        ("nodes=four", "nodes: must be a whole number, not a text; write nodes = 4"),
        ("nods=4", "nods: is no key of a profile; did you mean nodes?"),
        ("env_vars.1=x", ("env_vars.1: is no name of a variable; use letters, digits and _, and no "
         "digit first")),
        ("executor=slrm", ("executor: slrm is none of local, docker, slurm, skypilot, dgxcloud, "
         "lepton, kubeflow, kuberay; did you mean slurm?")),
    ],
)  # fmt: skip
def test_mistake_of_the_command_line_names_no_file(
    override: str, sentence: str, write: Write
) -> None:
    write("[p]")
    with pytest.raises(SettingsError) as caught:
        load_run_profile("p", overrides=[override])
    assert (str(caught.value), caught.value.file) == (sentence, None)


REMARKS = {
    "unknown key of W&B": (
        '[wandb]\nproject = "x"\nprojct = "y"',
        "FILE [wandb] projct: is not known, and is ignored; did you mean project?",
    ),
    "unknown key of the cache": (
        "[cache]\nzzz = 1",
        "FILE [cache] zzz: is not known, and is ignored; the known keys are git_dir",
    ),
    "entity without project": (
        '[wandb]\nentity = "me"',
        "FILE [wandb] entity: stands without a project, so tracking stays off; add project",
    ),
    "blank project": (
        '[wandb]\nproject = " "',
        "FILE [wandb] project: is blank, so tracking stays off; name a project, or remove it",
    ),
}


@pytest.mark.parametrize("case", REMARKS)
def test_what_does_no_harm_is_logged_and_ignored(
    case: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    text, sentence = REMARKS[case]
    path = write(text)
    with caplog.at_level(logging.WARNING):
        found = load_settings()
    assert caplog.messages == [sentence.replace("FILE", str(path))]
    assert found is not None
    assert found.wandb in (None, {"project": "x"}, {"entity": "me"}, {})


# ------------------------------------------------------------------------------ secrets


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f'[p]\nenv_vars = {{ MY_KEY = "{PASSWORD}" }}', ("[p] env_vars.MY_KEY: holds a secret "
         'itself; write secrets = { MY_KEY = "env" } instead')),
        (f'[p]\nenv_vars = ["DB_PASSWD={PASSWORD}"]', ("[p] env_vars.DB_PASSWD: holds a secret "
         'itself; write secrets = { DB_PASSWD = "env" } instead')),
        (f'[p]\nenv_vars = {{ PGPASSWORD = "{PASSWORD}" }}', ("[p] env_vars.PGPASSWORD: holds a "
         'secret itself; write secrets = { PGPASSWORD = "env" } instead')),
        # there, "env" would write it into script and log
        (('[p]\nexecutor = "slurm"\naccount = "a"\npartition = "b"\n'
          f'env_vars = {{ MY_KEY = "{PASSWORD}" }}'), ("[p] env_vars.MY_KEY: holds a secret "
         'itself; write secrets = { MY_KEY = "file" } instead')),
        (f'[p]\nenv_vars = {{ PLAIN = "{TOKEN}" }}', ("[p] env_vars.PLAIN: holds a secret itself; "
         'write secrets = { PLAIN = "env" } instead')),
        (f'{DGX}app_secret = "{PASSWORD}"', ("[p] client_secret: holds a secret itself; "
         'write "env:NAME" or "file:/path"')),
        (f'[p]\nexecutor = "kubeflow"\nenv_list = [{{ name = "A_TOKEN", value = "{PASSWORD}" }}]',
         ("[p] env_list.value: holds a secret itself; take it from a secret: "
         "valueFrom = { secretKeyRef = { ... } }")),
    ],
)  # fmt: skip
def test_literal_secret_is_remarked_and_refused_where_others_can_read_it(
    text: str, sentence: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(text)
    with caplog.at_level(logging.WARNING):
        config = load_run_profile("p")
        load_settings()
    assert caplog.messages == [f"{path} {sentence}"]
    assert PASSWORD not in repr(config)
    assert TOKEN not in repr(config)
    path.chmod(0o640)
    place = sentence.partition(":")[0]
    with pytest.raises(SettingsError) as caught:
        load_run_profile("p")
    said = "holds a secret itself, in a file that group or others can read; run: chmod 600"
    assert str(caught.value) == f"{path} {place}: {said} {path}"
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert load_settings() is not None
    assert len(caplog.messages) == 1
    assert said in caplog.messages[0]


@pytest.mark.parametrize(
    "variables",
    [
        'TOKENIZERS_PARALLELISM = "true"', 'EOS_TOKEN = "</s>"', 'HF_TOKEN_PATH = "/secrets/hf"',
        'HF_HUB_DISABLE_IMPLICIT_TOKEN = "1"', 'MAX_TOKENS = "4096"', 'HF_TOKEN = ""',
        'AWS_ACCESS_KEY_ID_FILE = "/x"', 'MONKEY = "business"', "SEED_KEY = 1",
        f'GIT_COMMIT = "{"ab12" * 10}"', 'WANDB_API_KEY = "${oc.env:WANDB_API_KEY}"',
    ],
)  # fmt: skip
def test_what_is_no_secret_is_left_alone(variables: str, write: Write) -> None:
    write(f"[p]\nenv_vars = {{ {variables} }}", 0o644)  # type: ignore[call-arg]
    assert resolve(read(), "p").remarks == ()


def test_secret_of_the_command_line_is_only_remarked(write: Write) -> None:
    write("[p]", 0o644)  # type: ignore[call-arg]
    profile = resolve(read(), "p", [f"env_vars.HF_TOKEN={TOKEN}"])
    assert [str(each) for each in profile.remarks] == [
        'env_vars.HF_TOKEN: holds a secret itself; write secrets = { HF_TOKEN = "env" } instead'
    ]


def test_container_of_a_commit_is_no_secret(write: Write) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    write(f'[p]\ncontainer_image = "registry/image:main-{commit}"', 0o644)  # type: ignore[call-arg]
    assert resolve(read(), "p").remarks == ()


# --------------------------------------------------------------------- anything at all

_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
_WORDS = st.sampled_from(
    ["extends", "nodes", "env_vars", "secrets", "mounts", "executor", "tunnel", "project", "root",
     "backend", "manifest", "tags", "A", "client_secret", "ntasks_per_node", "ssh", "p", "env",
     "${x}"]
)  # fmt: skip
_NAMES = st.sampled_from(["p", "q", "wandb", "artifacts", "cache", "cli"]) | _TEXTS
_SCALARS = (
    _TEXTS | _WORDS | st.sampled_from(EXECUTORS) | st.booleans() | st.integers(-9, 9)
    | st.floats(-1, 1)
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_WORDS | _TEXTS, below, max_size=3),
    max_leaves=6,
)
_TABLES = st.dictionaries(_WORDS | st.sampled_from(sorted(KEYS)) | _TEXTS, _VALUES, max_size=5)


def as_toml(document: dict[str, Any]) -> str:
    """Write a document as TOML: one line a table."""
    return "\n".join(f"{_scalar(name)} = {_inline(value)}" for name, value in document.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_scalar(key)} = {_inline(v)}' for key, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.dictionaries(_NAMES, _TABLES | _SCALARS, max_size=4).map(
        lambda found: {"p": {}, **found}
    ),
    overrides=st.lists(st.builds("{}={}".format, _WORDS | _TEXTS, _TEXTS), max_size=2),
)
def test_any_table_is_a_config_or_one_sentence(
    tmp_path: Path, document: dict[str, Any], overrides: list[str]
) -> None:
    path = tmp_path / "any.toml"
    path.write_text(as_toml(document))
    outcome = _config_or_error("p", path, overrides)
    if isinstance(outcome, SettingsError):
        sentence = str(outcome)
        assert sentence.isprintable()
        assert sentence.endswith(f"{outcome.fact}; {outcome.advice}")
        assert not sentence.endswith((".", "; ", ": "))
    else:
        assert repr(outcome).startswith("RunConfig(")


def _config_or_error(name: str, path: Path, overrides: list[str]) -> RunConfig | SettingsError:
    try:
        return load_run_profile(name, path, overrides=overrides)
    except SettingsError as error:
        return error


# --------------------------------------------------------------------------------- leaks


def places(value: Any) -> Iterator[Any]:
    """Yield copies of a document, each with a secret in place of one of its texts and names."""
    if isinstance(value, str):
        yield TOKEN
    elif isinstance(value, list):
        for at, item in enumerate(value):
            for changed in places(item):
                yield [*value[:at], changed, *value[at + 1 :]]
    elif isinstance(value, dict):
        for key, item in value.items():
            for changed in places(item):
                yield {**value, key: changed}
            yield {TOKEN if each == key else each: value[each] for each in value}


FULL = {
    "wandb": {
        "project": "p", "entity": "e", "name": "n", "tags": ["t"], "notes": "x", "mode": "online",
        "base_url": "https://x", "unknown": "u",
    },
    "artifacts": {"store": "s", "backend": "file", "root": "/r"},
    "cache": {"git_dir": "/g", "unknown": "u"},
    "cli": {"theme": "t"},
    "base": {"executor": "slurm", "account": "a", "env_vars": {"A": "1", "WANDB_API_KEY": "k"}},
    "p": {
        "extends": ["base"], "partition": "p", "tunnel": "ssh", "host": "h", "user": "u",
        "remote_job_dir": "/d", "mounts": ["/a:/b"], "packager": "git", "setup_lines": "true",
        "additional_parameters": {"deep": {"deeper": ["x"]}},
        "secrets": {"WANDB_API_KEY": "file:/x", "HF_TOKEN": "env"},
    },
    "k": {
        "executor": "kubeflow", "env_list": [{"name": "A", "value": "x"}], "labels": {"a": "b"},
        "env_vars": ["A=1", "B=2"], "secrets": "env",
    },
    "d": {
        "executor": "lepton", "container_image": "i", "nemo_run_dir": "/n",
        "secret_vars": {"WANDB_API_KEY": "name"}, "mounts": [{"path": "/a"}],
    },
}  # fmt: skip
LEAKS = list(places(FULL))


@pytest.mark.parametrize("document", LEAKS, ids=map(str, range(len(LEAKS))))
def test_no_secret_is_in_a_sentence_or_a_repr(
    document: dict[str, Any], write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write(as_toml(document))
    told: list[object] = []
    try:
        with caplog.at_level(logging.DEBUG):
            told.append(load_settings())
            for name in list_run_profiles():
                try:
                    told.append(load_run_profile(name))
                except SettingsError as error:
                    told.append(error)
    except SettingsError as error:
        told.append(error)
    everything = "\n".join([*map(repr, told), *map(str, told), *caplog.messages])
    assert TOKEN not in everything
    assert told


def test_secret_of_the_environment_is_masked_wherever_it_turns_up(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "plainwords" + string.digits)
    path = write(f'[p]\nexecutor = "plainwords{string.digits}"')
    with pytest.raises(SettingsError) as caught:
        load_run_profile("p")
    assert str(caught.value).startswith(f"{path} [p] executor: '[redacted]' is none of local, ")
