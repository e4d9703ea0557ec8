"""What the clouds, Docker and SkyPilot are asked for, in their own words."""

from __future__ import annotations

import inspect
import json
import os
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
