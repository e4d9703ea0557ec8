"""Programs that use the real wandb against a server on this machine, each in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import Lineage

from .server import Server, serving

ROOT = Path(__file__).parents[3]
KEY = "0123456789abcdef0123456789abcdef01234567"
OWN = ("HOME", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR")


class Shell:
    """A folder, an environment, and what is run there."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        self.environ = {
            **os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns"), "WANDB_BASE_URL": server.url,
            "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true",
            "NO_PROXY": "127.0.0.1", "LINEAGE_STORE": str(folder / "lineage.db"),
            "WANDB_ENTITY": "e", "WANDB_PROJECT": "p",
        }  # fmt: skip
        for name in OWN:
            place = folder / "homes" / name.lower()
            place.mkdir(parents=True, exist_ok=True)
            self.environ[name] = str(place)

    def start(self, program: str, *words: str, **environ: str) -> subprocess.Popen[str]:
        """Start a program of Python, and return while it runs."""
        return subprocess.Popen(
            [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", program, *words],
            env={**self.environ, **environ}, cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def python(self, program: str, *words: str, timeout: float = 120, **environ: str) -> str:
        """Run a program of Python, and return what it printed."""
        process = self.start(program, *words, **environ)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        assert process.returncode == 0, out + err
        self.said = err
        return out

    def lineage(self, *words: str, status: int = 0, timeout: float = 150, **environ: str) -> str:
        """Run the command ``lineage``, and return what it printed."""
        result = subprocess.run(
            [sys.executable, "-m", "nemotron.lineage.cli.main", *words], cwd=self.folder,
            env={**self.environ, **environ}, capture_output=True, text=True, check=False,
            timeout=timeout,
        )  # fmt: skip
        assert result.returncode == status, result.stdout + result.stderr
        self.said = result.stderr
        return result.stdout

    def open(self) -> Lineage:
        """Open the store of these programs."""
        return lineage.open(self.environ["LINEAGE_STORE"], environ={})


def wait_until(until: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something, with a deadline."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("wandb.sdk", reason="wandb is not installed here: make test-wandb")
    with serving() as server:
        yield server


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    folder = tmp_path / "work"
    folder.mkdir()
    return Shell(folder, server)
