"""Every test has its own home, and no test sees the user's store or secrets."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests.servers import BucketServer, PostgresServer, postgres_server

from nemotron import lineage
from nemotron.lineage import Lineage

FAR = ["objects", pytest.param("postgres", marks=pytest.mark.postgres)]
LASTING = ["sqlite", "directory", *FAR]  # kinds of journals that outlive their process
RUNNING: dict[str, object] = {}  # servers, for classes of hypothesis, which take no fixtures

_FOREIGN = (
    "LINEAGE_", "NEMOTRON_", "SLURM_", "TORCHELASTIC_", "WANDB_", "HF_", "NEMO_", "RAY_", "AWS_",
    "PG", "GOOGLE_", "AZURE_",
)  # fmt: skip

settings.register_profile("untimed", deadline=None)  # a busy machine is no fault
settings.load_profile("untimed")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell started us in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[BucketServer]:
    """An S3 endpoint on loopback, with one bucket."""
    endpoint = BucketServer()
    RUNNING["objects"] = endpoint
    yield endpoint
    endpoint.stop()


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server, as of nobody but this run of tests."""
    with postgres_server() as server:
        RUNNING["postgres"] = server
        yield server


@pytest.fixture
def address_of(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], str]:
    """Make addresses of stores that are not there yet: of a kind, with a name."""

    def address_of(kind: str, name: str = "lineage") -> str:
        if kind == "postgres":
            server: PostgresServer = request.getfixturevalue("server")
            return server.address()
        if kind == "objects":
            endpoint: BucketServer = request.getfixturevalue("endpoint")
            for variable, value in endpoint.environ().items():
                monkeypatch.setenv(variable, value)
            return endpoint.address()
        return str(tmp_path / (f"{name}.db" if kind == "sqlite" else name))

    return address_of


@pytest.fixture
def place(request: pytest.FixtureRequest, address_of: Callable[[str, str], str]) -> str:
    """The address of a store that is not made yet, of the kind that is asked for indirectly."""
    return address_of(request.param, "lineage")


@pytest.fixture(params=["lineage.db", "lineage", "memory:"], ids=["sqlite", "directory", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lineage]:
    """A store of each kind."""
    address = request.param if request.param == "memory:" else tmp_path / request.param
    with lineage.open(address) as store:
        yield store


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A small checkpoint folder."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"\x00" * 1000)
    (folder / "config.json").write_text('{"layers": 2}')
    return folder
