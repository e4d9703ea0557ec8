"""Profiles of every executor, and the world that they are built in."""

from __future__ import annotations

import json
from pathlib import Path
from secrets import token_hex
from typing import Any

from nemotron.kit import RunConfig, build_executor

KEY = token_hex(20)
TOKEN = f"hf_{token_hex(17)}"
DGX = {
    "container_image": "image", "base_url": "https://127.0.0.1:1",
    "kube_apiserver_url": "https://127.0.0.1:1", "client_id": "me",
    "client_secret": "env:MY_SECRET",
    "project_name": "project", "pvc_nemo_run_dir": "/volume/runs",
    "pvcs": [{"name": "v", "path": "/volume"}],
}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {
    "local": {},
    "docker": {"container_image": "image"},
    "slurm": {"account": "team", "partition": "batch"},
    "skypilot": {"gpus": "A100:8", "packager": "git"},
    "dgxcloud": DGX,
    "lepton": {"container_image": "image", "nemo_run_dir": "/runs"},
    "kubeflow": {"container_image": "image"},
    "kuberay": {"image": "image"},
}
Executor = Any


def build(executor: str, given: dict[str, str] | None = None, **more: Any) -> Executor:
    return build_executor(RunConfig(executor=executor, **{**NEEDED[executor], **more}), given)


def project(**wandb: str) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in wandb.items()]
    Path("env.toml").write_text("\n".join(["[wandb]", *lines]))
