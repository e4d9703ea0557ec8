"""OpenLineage is told by its own client, to a file or a server, in events that its schema allows.

``OPENLINEAGE_SPEC`` names the folder ``spec`` of a checkout of OpenLineage: with it, events and
facets are validated against the published schema; without it, against the rules below.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nemotron import lineage

jsonschema = pytest.importorskip("jsonschema", reason="make test-wandb installs it")
pytest.importorskip("openlineage.client", reason="make test-wandb installs it")

ROOT = Path(__file__).parents[3]
SPEC = os.environ.get("OPENLINEAGE_SPEC")
Event = dict[str, Any]

_TEXT = {"type": "string", "minLength": 1}
_FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "object", "required": ["_producer", "_schemaURL"],
        "properties": {"_producer": {**_TEXT, "format": "uri"}, "_schemaURL": {"pattern": "^http"}},
    },
}  # fmt: skip
_NAMED = {"namespace": _TEXT, "name": _TEXT, "facets": _FACETS}
_DATASET = {
    "type": "object", "required": ["namespace", "name"],
    "properties": {**_NAMED, "inputFacets": _FACETS, "outputFacets": _FACETS},
}  # fmt: skip
RULES = {
    "type": "object", "required": ["eventTime", "producer", "schemaURL"],
    "properties": {
        "eventTime": {"format": "date-time"}, "producer": {"format": "uri"},
        "schemaURL": {"pattern": r"^https://openlineage.io/spec/2-\d-\d/OpenLineage.json#/\$defs/"},
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "run": {
            "type": "object", "required": ["runId"],
            "properties": {
                "runId": {"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
                "facets": _FACETS,
            },
        },
        "job": {"type": "object", "required": ["namespace", "name"], "properties": _NAMED},
        "inputs": {"type": "array", "items": _DATASET},
        "outputs": {"type": "array", "items": _DATASET}, "dataset": _DATASET,
    },
    "oneOf": [{"required": ["run", "job"]}, {"required": ["dataset"]}],
}  # fmt: skip


def _valid(event: Event) -> Event:
    jsonschema.validate(event, RULES, format_checker=jsonschema.FormatChecker())
    if SPEC is not None:
        from referencing import Registry, Resource

        texts = [Path(SPEC, "OpenLineage.json"), *Path(SPEC, "facets").glob("*.json")]
        schemas = [json.loads(each.read_text()) for each in texts]
        known = Registry().with_resources(
            (each["$id"], Resource.from_contents(each)) for each in schemas
        )
        whole = {"run": "RunEvent", "dataset": "DatasetEvent"}
        kind = next(kind for key, kind in whole.items() if key in event)
        base = schemas[0]["$id"]
        for value, url in ((event, f"{base}#/$defs/{kind}"), *_facets(event)):
            if url.partition("#")[0] in known:
                jsonschema.Draft202012Validator({"$ref": url}, registry=known).validate(value)
    return event


def _facets(value: Any) -> Iterator[tuple[Any, str]]:
    """Yield every facet with the address of its schema."""
    if isinstance(value, dict):
        if "_schemaURL" in value:
            yield value, value["_schemaURL"]
        for each in value.values():
            yield from _facets(each)
    elif isinstance(value, list):
        for each in value:
            yield from _facets(each)


class Marquez:
    """A server for events on this machine, which can be told to refuse them."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.status = 200
        self.asked = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if outer.status == 200:
                    outer.bodies.append(body.decode())
                outer.asked.set()
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def marquez() -> Iterator[Marquez]:
    server = Marquez()
    yield server
    server.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data, a model that retention deletes, and two runs that went wrong."""
    with lineage.open(tmp_path / "lineage.db", environ={}) as store:
        with store.run("prep", job_type="data-prep") as run:
            run.use("hf://org/raw@main", weight=0.5)
            run.publish("tokens", path="tokens", type="dataset", external=True)
        with store.run("train", job_type="training") as run:
            run.use("tokens:v1", weight=1.0)
            for step in (1, 2):
                path = tmp_path / f"iter_{step}"
                path.mkdir()
                (path / "w").write_text(f"{step}")
                run.publish("m", path=path, type="model", metadata={"step": step})
            run.record_deleted(tmp_path / "iter_1", "retention")
        with pytest.raises(ValueError, match="boom"), store.run("bad"):
            raise ValueError("boom")
        with pytest.raises(KeyboardInterrupt), store.run("stopped"):
            raise KeyboardInterrupt
    return tmp_path


def _sync(folder: Path, *words: str, status: int = 0, **environ: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "nemotron.lineage.cli.main", "sync", *words], cwd=folder,
        env={
            **os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns"), "NO_PROXY": "127.0.0.1",
            "LINEAGE_STORE": str(folder / "lineage.db"), "LINEAGE_MIRRORS": "openlineage",
            **environ,
        },
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout + result.stderr


def _to_file(folder: Path) -> dict[str, str]:
    config = {
        "transport": {"type": "file", "log_file_path": str(folder / "events"), "append": True}
    }
    (folder / "openlineage.yml").write_text(json.dumps(config))
    return {"OPENLINEAGE_CONFIG": str(folder / "openlineage.yml")}


def _lines(folder: Path) -> list[str]:
    return (folder / "events").read_text().splitlines()


def test_events_in_a_file_are_valid_and_tell_the_whole_story(folder: Path) -> None:
    assert "openlineage: 12 delivered, 0 left, 0 refused" in _sync(folder, **_to_file(folder))
    events = [_valid(json.loads(line)) for line in _lines(folder)]
    told = [(e["job"]["name"], e["eventType"]) for e in events if "job" in e]
    assert told == [
        ("prep", "START"), ("prep", "RUNNING"), ("prep", "COMPLETE"),
        ("train", "START"), ("train", "RUNNING"), ("train", "RUNNING"), ("train", "COMPLETE"),
        ("bad", "START"), ("bad", "FAIL"), ("stopped", "START"), ("stopped", "ABORT"),
    ]  # fmt: skip
    of_run = {e["job"]["name"]: {e2["run"]["runId"] for e2 in events if "job" in e2
              and e2["job"]["name"] == e["job"]["name"]} for e in events if "job" in e}  # fmt: skip
    assert all(len(ids) == 1 for ids in of_run.values())
    (end,) = [e for e in events if "job" in e and e["job"]["name"] == "train"][-1:]
    assert [_pinned(each) for each in end["inputs"]] == [("tokens", "v1")]
    assert end["inputs"][0]["inputFacets"]["lineage_use"]["weight"] == 1.0
    assert [_pinned(each) for each in end["outputs"]] == [("m", "v1"), ("m", "v2")]
    (source,) = events[1]["inputs"]
    assert (source["namespace"], source["name"]) == ("hf://org", "raw")
    (bad,) = [e for e in events if e.get("eventType") == "FAIL"]
    assert "boom" in bad["run"]["facets"]["errorMessage"]["message"]
    (gone,) = [e for e in events if "dataset" in e]
    assert _pinned(gone["dataset"]) == ("m", "v1")
    change = gone["dataset"]["facets"]["lifecycleStateChange"]["lifecycleStateChange"]
    assert change == "DROP"


def _pinned(dataset: Event) -> tuple[str, str]:
    return dataset["name"], dataset["facets"]["version"]["datasetVersion"]


def test_server_gets_the_same_events_and_each_of_them_once(folder: Path, marquez: Marquez) -> None:
    _sync(folder, **_to_file(folder))
    (folder / "openlineage.yml").unlink()
    again = {"OPENLINEAGE_URL": marquez.url}
    assert "12 delivered" in _sync(folder, "--again", **again)
    assert list(map(json.loads, marquez.bodies)) == list(map(json.loads, _lines(folder)))
    before = list(marquez.bodies)
    assert "openlineage: 0 left" in _sync(folder, **again)
    assert marquez.bodies == before
    _sync(folder, "--again", **again)
    assert marquez.bodies == before * 2  # an event that is sent twice is the same, byte for byte


def test_refusals_are_listed_and_tried_again_when_asked(folder: Path, marquez: Marquez) -> None:
    place = {"OPENLINEAGE_URL": marquez.url}
    marquez.status = 400
    said = _sync(folder, status=11, **place)
    assert "12 refused" in said
    marquez.status = 200
    assert "12 refused" in _sync(folder, "--status", status=11, **place)
    assert "openlineage: 12 delivered" in _sync(folder, "--retry", **place)
    for body in marquez.bodies:
        _valid(json.loads(body))


def test_busy_server_is_asked_again_until_it_takes_everything(
    folder: Path, marquez: Marquez
) -> None:
    marquez.status = 503

    def recover() -> None:
        marquez.asked.wait(60)
        marquez.status = 200

    threading.Thread(target=recover, daemon=True).start()
    said = _sync(folder, OPENLINEAGE_URL=marquez.url)
    assert "openlineage: 12 delivered, 0 left, 0 refused" in said
    assert len(marquez.bodies) == len(set(marquez.bodies)) == 12


def test_nothing_that_says_where_events_go_is_one_sentence(folder: Path) -> None:
    said = _sync(folder, status=11)
    assert "nothing says where OpenLineage events go; set OPENLINEAGE_URL" in said
    assert "openlineage: 12 left" in said
