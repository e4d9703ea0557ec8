"""Somebody who is logged in, with clusters that lead nowhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.nemo_run.fleet import KEY, TOKEN


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be logged in, in a project, with a cluster's address that leads nowhere."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "kubeconfig").write_text("""\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: none}}]
current-context: c
""")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    import kubernetes.config.kube_config as kube

    monkeypatch.setattr(kube, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    run = pytest.importorskip("nemo_run")
    home = tmp_path / "nemo"
    run.config.set_nemorun_home(str(home))
    monkeypatch.setenv("NEMORUN_HOME", str(home))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("MY_SECRET", "client-secret")
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "lineage.db"))
    # nemo-run reads it with every command, and pytest forbids that
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        yield
