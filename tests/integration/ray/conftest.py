"""A real Ray on 127.0.0.1: in a network of its own, since Ray listens on all that there are."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_NEWNET, _NEWNS = 0x40000000, 0x00020000
_UP = 0x41  # IFF_UP | IFF_RUNNING
_SET_FLAGS = 0x8914  # SIOCSIFFLAGS


@dataclass(frozen=True, slots=True)
class Ray:
    """A cluster of one node.

    Attributes:
        folder: where it writes.
        address: of its dashboard.
    """

    folder: Path
    address: str


@pytest.fixture(scope="session")
def ray() -> Iterator[Ray]:
    pytest.importorskip("ray")
    if os.geteuid() or not _leave_the_network():
        pytest.skip("it needs root that may make a network of its own")
    # readable by others, as /tmp/ray is; pytest's own folders are not
    folder = Path(tempfile.mkdtemp(prefix="lineage-ray-"))
    folder.chmod(0o755)
    program = Path(sys.executable).with_name("ray")
    words = [
        "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--port=26379",
        "--dashboard-host=127.0.0.1", "--dashboard-port=28265", "--num-cpus=4",
        f"--temp-dir={folder}", "--disable-usage-stats",
    ]  # fmt: skip
    foreign = ("LINEAGE_", "NEMOTRON_", "WANDB_", "HF_", "RAY_")
    environ = {key: text for key, text in os.environ.items() if not key.startswith(foreign)}
    environ["PYTHONPATH"] = str(ROOT / "tools" / "ns")
    with (folder / "start.log").open("w") as log:
        process = subprocess.Popen([str(program), *words], env=environ, stdout=log, stderr=log)
    found = Ray(folder, "http://127.0.0.1:28265")
    try:
        _wait(found.address, process)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _leave_the_network() -> bool:
    """Give this process a network with nothing but 127.0.0.1, and a /dev/shm of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEWNET | _NEWNS) != 0:
        return False
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))
    for words in (["--make-rprivate", "/"], ["-t", "tmpfs", "tmpfs", "/dev/shm"]):
        if subprocess.run(["mount", *words], check=False).returncode:
            return False
    return True


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, "Ray has ended"
        try:
            with urllib.request.urlopen(f"{address}/api/jobs/", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("Ray did not come up")
