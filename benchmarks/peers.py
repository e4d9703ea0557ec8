"""What does one version cost beside other trackers?

    python benchmarks/peers.py [wandb mlflow lamindb trackio]

Each peer is installed into a throwaway environment, and there one process takes turns: a version
with the peer, then one here. Every one registers a checkpoint (a folder of 64 shards) where it
lies, with 15 metadata keys, under one name, and moves an alias to it, as its own documentation
says; nothing is uploaded. Ours also records three inputs, and is on the disk when it returns. A
peer that cannot be installed is named and left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path

from common import folder, in_turn, report
from publish import METADATA, publisher

ROUNDS = 100
PACKAGES = {
    "wandb": "wandb==0.31.0",
    "mlflow": "mlflow==3.17.2",
    "lamindb": "lamindb==2.12.1",
    "trackio": "trackio==0.43.0",
}


def main(peers: list[str]) -> None:
    """Measure each peer in an environment of its own."""
    for peer in peers:
        with tempfile.TemporaryDirectory() as place:
            python = Path(place) / "bin" / "python"
            venv.create(place, with_pip=True)
            install = [python, "-m", "pip", "install", "--quiet", PACKAGES[peer]]
            if subprocess.run(install, check=False).returncode:
                print(f"\n{peer}: NOT MEASURED, {PACKAGES[peer]} cannot be installed here")
                continue
            if subprocess.run([python, __file__, "--measure", peer], check=False).returncode:
                print(f"\n{peer}: NOT MEASURED, see the error above")


def _measure(peer: str) -> None:
    with folder() as place:
        files = place / "files"
        files.mkdir()
        for at in range(ROUNDS + 10):
            _checkpoint(files / f"{at}", at)
        register = PEERS[peer](place, files)
        run, publish = publisher(place / "lineage.db", files)
        variants = {
            "run.publish": publish,
            "run.record": lambda at: run.record(
                "model", path=files / f"{at}", type="model", metadata={**METADATA, "step": at}
            ),
            PACKAGES[peer]: register,
        }
        for act in variants.values():
            for at in range(ROUNDS, ROUNDS + 10):
                act(at)
        report(f"{peer}, {ROUNDS} rounds", in_turn(variants, ROUNDS), "run.publish")


def _checkpoint(place: Path, step: int) -> None:
    place.mkdir()
    (place / "train_state.json").write_text(f'{{"step": {step}}}')
    for shard in range(64):
        with (place / f"__{shard}_0.distcp").open("wb") as file:
            file.truncate(2 << 20)


def _wandb(place: Path, files: Path) -> Callable[[int], object]:
    """A logged artifact of references without checksums, offline."""
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    import wandb

    run = wandb.init(project="bench", dir=place)

    def register(at: int) -> None:
        artifact = wandb.Artifact("model", type="model", metadata={**METADATA, "step": at})
        artifact.add_reference(f"file://{files / str(at)}", checksum=False)
        run.log_artifact(artifact, aliases=["newest"])

    return register


def _mlflow(place: Path, files: Path) -> Callable[[int], object]:
    """A model version of a reference and an alias, in a local SQLite store."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place}/mlflow.db", f"sqlite:///{place}/mlflow.db")
    client.create_registered_model("model")
    tags = {key: str(value) for key, value in METADATA.items()}

    def register(at: int) -> None:
        source = f"file://{files / str(at)}"
        version = client.create_model_version("model", source, tags={**tags, "step": str(at)})
        client.set_registered_model_alias("model", "newest", version.version)

    return register


def _lamindb(place: Path, files: Path) -> Callable[[int], object]:
    """A saved artifact of a folder inside the storage, which it hashes; it has no aliases."""
    os.environ["LAMIN_SETTINGS_DIR"] = str(place / "settings")
    import lamindb_setup

    lamindb_setup.init(storage=str(files))
    import lamindb

    return lambda at: lamindb.Artifact(files / f"{at}", description=f"{METADATA}").save()


def _trackio(place: Path, files: Path) -> Callable[[int], object]:
    """A logged artifact of a reference, in the local store."""
    os.environ["TRACKIO_DIR"] = str(place / "trackio")
    import trackio

    trackio.init(project="bench", embed=False)

    def register(at: int) -> None:
        artifact = trackio.Artifact("model", type="model", metadata={**METADATA, "step": at})
        artifact.add_reference(f"file://{files / str(at)}")
        trackio.log_artifact(artifact, aliases=["newest"])

    return register


PEERS = {"wandb": _wandb, "mlflow": _mlflow, "lamindb": _lamindb, "trackio": _trackio}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        _measure(sys.argv[2])
    else:
        main(sys.argv[1:] or list(PACKAGES))
