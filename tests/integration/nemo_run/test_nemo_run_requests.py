"""What the clouds, Docker and SkyPilot are asked for, in their own words."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import stat
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.integration.nemo_run.fleet import KEY, build

from nemotron import lineage
from nemotron.kit import RunConfig
from nemotron.kit.launching import Request, launch
from nemotron.lineage import LineageError, pin_job

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of what nemo-run imports
    run = pytest.importorskip("nemo_run")


class _Requests(BaseHTTPRequestHandler):
    """Answers as DGX Cloud does, and keeps what it was sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, json.loads(body)))  # type: ignore[attr-defined]
        self._answer({"accessToken": "t", "workloadId": "w1", "actualPhase": "Pending"}, 202)

    def do_GET(self) -> None:
        if "/rayjobs/" in self.path or "/trainjobs/" in self.path:  # Kubernetes
            done = [{"name": "node", "succeeded": 1, "active": 0}]
            self._answer({"status": {"jobStatus": "SUCCEEDED", "jobsStatus": done,
                                     "jobDeploymentStatus": "Complete"}})  # fmt: skip
            return
        project = {"name": "project", "id": "p", "clusterId": "c"}
        self._answer({"projects": [project], "actualPhase": "Completed", "phase": "Completed"})

    def do_DELETE(self) -> None:
        self.do_GET()

    def _answer(self, body: object, status: int = 200) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _serving() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    server = HTTPServer(("127.0.0.1", 0), _Requests)
    server.seen = []  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.seen  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("launched_from_cluster", [True, False])
def test_dgx_cloud_hears_no_key_and_the_job_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    *, launched_from_cluster: bool,
) -> None:  # fmt: skip
    import time

    monkeypatch.setattr(time, "sleep", lambda _: None)  # it waits for ten seconds
    caplog.set_level("INFO")
    with _serving() as (url, seen):
        made = build(
            "dgxcloud", {"A": "1"}, base_url=url, launched_from_cluster=launched_from_cluster,
            packager="none",
        )  # fmt: skip
        with run.Experiment("exp", clean_mode=True, enable_goodbye_message=False,
                            skip_status_at_exit=True) as exp:  # fmt: skip
            command = 'printf "%s %s" "$WANDB_API_KEY" "$A" > "$1"'
            exp.add(run.Script(inline=command), executor=made, name="task")
            exp.run(detach=True)
            job = Path(exp.jobs[0].executor.job_dir)
    ((_, body),) = [each for each in seen if each[0] == "/workloads/trainings"]
    variables = {each["name"]: each["value"] for each in body["spec"]["environmentVariables"]}
    assert variables["A"] == "1"
    assert KEY not in json.dumps(body)
    assert KEY not in caplog.text
    movers = [each for path, each in seen if path == "/workloads/workspaces"]
    assert bool(movers) is not launched_from_cluster
    # what nemo-run wrote, run as the pod runs it: its script in a bash, our script in another
    file = job / ".lineage" / "secrets.sh"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    script = (job.parent / "torchrun_job.sh").read_text()
    assert KEY not in script
    out = tmp_path / "out"
    script = script.replace("/nemo_run", str(job)).replace("task.sh", f"task.sh {out}")
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "HOSTNAME": "pod-0", "BASH_ENV": str(file)},
    )  # fmt: skip
    assert out.read_text() == f"{KEY} 1"
    assert KEY not in done.stdout + done.stderr  # its log, with tracing on


def test_lepton_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    import nemo_run.core.execution.lepton as lepton

    jobs: list[Any] = []

    class Client:
        """What the executor asks of Lepton's own client; the specification is Lepton's."""

        class nodegroup:  # noqa: N801 - as the client has it
            @staticmethod
            def list_all() -> list[Any]:
                metadata = type("M", (), {"name": "group", "id_": "g"})
                return [type("G", (), {"metadata": metadata})]

            @staticmethod
            def list_nodes(_: Any) -> list[Any]:
                return []

        class job:  # noqa: N801
            @staticmethod
            def create(job: Any) -> Any:
                jobs.append(job)
                return job

    monkeypatch.setattr(lepton, "APIClient", Client)
    secrets = {"WANDB_API_KEY": "secret:wandb"}
    made = build("lepton", {"A": "a b; $HOME"}, secrets=secrets, node_group="group",
                  resource_shape="gpu.8xh100")  # fmt: skip
    made.lepton_job_dir = "/runs/job"
    made.create_lepton_job("name")
    envs = {each.name: each for each in jobs[0].spec.envs}
    assert envs["A"].value == "a b; $HOME"
    assert envs["WANDB_API_KEY"].value_from.secret_name_ref == "wandb"
    assert KEY not in jobs[0].model_dump_json()


def test_kubeflow_launch_script_runs_no_value(tmp_path: Path) -> None:
    made = build("kubeflow", {"A": "x-1", "B": "/p/q:r@s,t+u=v"}, workdir_pvc="claim")
    made.assign("exp_1", str(tmp_path / "exp"), "task", "task")
    out = tmp_path / "out"
    made.materialize_launch_script(["printf", "'%s|%s'", '"$A"', '"$B"', ">", str(out)])
    script = Path(made.job_dir, "launch.sh").read_text()
    script = "\n".join(line for line in script.split("\n") if "ln -sfn" not in line)
    subprocess.run(["bash", "-c", script], check=True, capture_output=True)
    assert out.read_text() == "x-1|/p/q:r@s,t+u=v"


def test_skypilot_task_carries_values_as_they_are(tmp_path: Path) -> None:
    from nemo_run.run.torchx_backend.schedulers.skypilot import SkypilotScheduler

    value = "a b; $HOME $$ ${num_nodes_var} it's"
    made = build("skypilot", {"A": value})
    made.assign("exp_1", str(tmp_path / "exp"), "task", "task")
    Path(made.job_dir).mkdir(parents=True)
    from nemo_run.run.torchx_backend.packaging import package

    app = package("task", run.Script(inline="true"), executor=made)
    request = SkypilotScheduler("s")._submit_dryrun(app, made).request
    assert request.task.envs["A"] == value
    assert request.task.envs["WANDB_API_KEY"] == KEY


def test_docker_gets_values_as_they_are_and_no_key_on_a_command_line(tmp_path: Path) -> None:
    from nemo_run.run.torchx_backend.packaging import package
    from nemo_run.run.torchx_backend.schedulers.docker import PersistentDockerScheduler

    calls: list[tuple[Any, dict[str, Any]]] = []

    class Client:
        """What nemo-run asks of the Docker SDK."""

        class networks:  # noqa: N801 - as the SDK has it
            @staticmethod
            def create(**_: Any) -> None: ...

        class containers:  # noqa: N801
            @staticmethod
            def run(*words: Any, **more: Any) -> None:
                calls.append((words, more))

    value = "a b; $HOME $$ ${app_id} it's"
    made = build("docker", {"A": value})
    made.assign("exp_1", str(tmp_path / "exp"), "task", "task")
    Path(made.job_dir).mkdir(parents=True)
    app = package("task", run.Script(inline="true"), executor=made)
    request = PersistentDockerScheduler("s")._submit_dryrun(app, made).request
    request.run(Client)
    ((words, more),) = calls
    assert more["environment"]["A"] == value
    assert more["environment"]["WANDB_API_KEY"] == KEY
    rest = {key: item for key, item in more.items() if key != "environment"}
    assert KEY not in json.dumps([words, rest], default=str)
    import docker

    known = inspect.signature(docker.models.containers.ContainerCollection.run).parameters
    assert {"image", "command", "remove", "kwargs"} <= known.keys()  # the SDK's own names


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[list[tuple[str, Any]]]:
    """A Kubernetes that takes jobs, and what it was sent."""
    with _serving() as (url, seen):
        path = tmp_path / "kubeconfig"
        path.write_text(path.read_text().replace("https://127.0.0.1:1", url))
        yield seen


def test_ray_job_of_kubernetes_is_told_in_its_runtime_environment(
    tmp_path: Path, kubernetes: list[tuple[str, Any]]
) -> None:
    import yaml

    volumes = {"volumes": [{"name": "v"}], "volume_mounts": [{"name": "v", "mountPath": "/v"}]}
    config = RunConfig(
        executor="kuberay", image="image", env_vars={"A": "a b"}, **volumes,
        secrets={"WANDB_API_KEY": "secret:wandb/key", "HF_TOKEN": "secret:hub/token"},
    )  # fmt: skip
    words = ["python", "x.py", "it's $HOME"]
    assert launch(Request(command=words, config=config, ray=True)) == 0
    ((path, body),) = kubernetes
    assert path == "/apis/ray.io/v1/namespaces/default/rayjobs"
    assert shlex.split(body["spec"]["entrypoint"]) == words
    environment = yaml.safe_load(body["spec"]["runtimeEnvYAML"])
    assert environment["env_vars"]["A"] == "a b"
    assert environment["env_vars"]["RAY_OVERRIDE_JOB_RUNTIME_ENV"] == "1"
    assert environment["env_vars"]["LINEAGE_JOB"].startswith("nemo-run:nemo-run_")
    assert KEY not in json.dumps(body)
    with lineage.open(tmp_path / "lineage.db") as store:
        (found,) = store.runs()
    assert (found.status, found.config["executor"], found.config["ray"]) == ("ok", "kuberay", True)


def test_kubeflow_job_is_launched_with_its_words_and_pins(
    tmp_path: Path, kubernetes: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "kubectl").write_text("#!/bin/sh\nexit 0\n")  # asked for logs
    (tools / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with lineage.open(tmp_path / "lineage.db") as store, store.run("prep") as prep:
        prep.publish("tokens", path=tmp_path, type="dataset")
    config = RunConfig(executor="kubeflow", image="image", secrets={
        "WANDB_API_KEY": "secret:wandb/key", "HF_TOKEN": "secret:hub/token"})  # fmt: skip
    words = ["python", "x.py", "it's $$ ${num_nodes_var}", "art://tokens:latest"]
    assert launch(Request(command=words, config=config)) == 0
    (body,) = [body for path, body in kubernetes if path.endswith("/trainjobs")]
    trainer = body["spec"]["trainer"]
    assert trainer["command"] == ["env", *words[:3], "art://tokens:v1"]
    env = {each["name"]: each.get("value") for each in trainer["env"]}
    pins = pin_job(["art://tokens:latest"], environ={"LINEAGE_PINS": env["LINEAGE_PINS"]})
    assert pins["art://tokens:latest"].uri == "art://tokens:v1"
    assert KEY not in json.dumps(body)


def test_kubernetes_that_is_not_configured_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import kubernetes.config.kube_config as kube

    monkeypatch.setattr(kube, "KUBE_CONFIG_DEFAULT_LOCATION", "/nowhere")
    with pytest.raises(LineageError, match=r"kubeflow finds no cluster: .*; set KUBECONFIG"):
        build("kubeflow")
