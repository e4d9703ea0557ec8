"""OpenLineage is told by its own client, to a file or a server, in events that are valid."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nemotron import lineage

jsonschema = pytest.importorskip("jsonschema", reason="make test-wandb installs it")
referencing = pytest.importorskip("referencing", reason="make test-wandb installs it")
pytest.importorskip("openlineage.client", reason="make test-wandb installs it")

ROOT = Path(__file__).parents[3]
SPEC = Path(__file__).parent / "spec"
Event = dict[str, Any]
FORMATS = jsonschema.FormatChecker()  # of itself it knows no address and no time


@FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@FORMATS.checks("uri")
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+", value) is not None


@cache
def _published() -> tuple[str, Any]:
    """Return the address of the schema of events, and what has it and those of facets."""
    schemas = [json.loads(each.read_text()) for each in sorted(SPEC.rglob("*.json"))]
    known = ((each["$id"], referencing.Resource.from_contents(each)) for each in schemas)
    base = next(each["$id"] for each in schemas if each["$id"].endswith("/OpenLineage.json"))
    return base, referencing.Registry().with_resources(known)


def _valid(event: Event) -> Event:
    """Validate an event, and each facet in it, against the schema that it names itself."""
    base, known = _published()
    kind = "RunEvent" if "run" in event else "DatasetEvent"
    assert event["schemaURL"] == f"{base}#/$defs/{kind}"
    for value, url in ((event, event["schemaURL"]), *_facets(event)):
        assert url.partition("#")[0] in known, f"{url} is not in {SPEC}"
        jsonschema.Draft202012Validator(
            {"$ref": url}, registry=known, format_checker=FORMATS
        ).validate(value)
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
    return _by(folder, _file(folder))


def _file(folder: Path) -> dict[str, Any]:
    return {"type": "file", "log_file_path": str(folder / "events"), "append": True}


def _by(folder: Path, transport: dict[str, Any]) -> dict[str, str]:
    (folder / "openlineage.yml").write_text(json.dumps({"transport": transport}))
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


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("eventTime",), "2026-01-01T00:00:00"), (("producer",), "nobody"),
        (("run", "runId"), "1"), (("eventType",), "DONE"), (("inputs",), {}),
        (("job", "facets", "jobType", "processingType"), None), (("job", "name"), None),
    ],
)  # fmt: skip
def test_schema_refuses_what_it_does_not_allow(
    folder: Path, place: tuple[str, ...], value: object
) -> None:
    _sync(folder, **_to_file(folder))
    event = json.loads(_lines(folder)[1])
    inner = event
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        _valid(event)


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


@pytest.mark.parametrize(
    "transport",
    [
        {"type": "async_http", "url": "http://127.0.0.1:1"},
        {"type": "composite", "transports": [{"type": "http", "url": "http://127.0.0.1:1"}]},
        {
            "type": "composite", "continue_on_failure": False,
            "transports": [{"type": "async_http", "url": "http://127.0.0.1:1"}],
        },
    ],
)  # fmt: skip
def test_transport_that_may_lose_an_event_is_refused(
    folder: Path, transport: dict[str, Any]
) -> None:
    """It would be noted as delivered, and never sent again."""
    said = _sync(folder, status=11, **_by(folder, transport))
    kind = transport["type"]
    assert (
        f"lineage: the OpenLineage transport {kind} does not say whether an event arrived" in said
    )
    assert "openlineage: 12 left, the oldest" in said


def test_strict_composite_sends_to_all_or_tries_again(folder: Path, marquez: Marquez) -> None:
    both = [_file(folder), {"type": "http", "url": marquez.url}]
    place = _by(folder, {"type": "composite", "transports": both, "continue_on_failure": False})
    assert "openlineage: 12 delivered, 0 left" in _sync(folder, **place)
    assert list(map(json.loads, marquez.bodies)) == list(map(json.loads, _lines(folder)))


@pytest.mark.parametrize(
    "transport", [{"type": "carrier-pigeon"}, {"type": "http"}, {"type": "kafka"}]
)
def test_settings_that_do_not_work_are_one_sentence(
    folder: Path, transport: dict[str, Any]
) -> None:
    said = _sync(folder, status=11, **_by(folder, transport))
    assert "lineage: the settings of the OpenLineage client do not work (" in said
    assert "Traceback" not in said
    assert "openlineage: 12 left" in said


def test_no_login_in_an_address_is_shown(folder: Path) -> None:
    said = _sync(folder, status=11, OPENLINEAGE_URL="http://me:hunter2hunter2@no host")
    assert "the settings of the OpenLineage client do not work" in said
    assert "hunter2" not in said


def test_who_watches_goes_on_when_the_store_is_back(folder: Path) -> None:
    place = folder / "store"

    def train() -> None:
        with lineage.open(place, environ={}) as store, store.run("train") as run:
            run.publish("m", path="m", type="model", external=True)

    train()
    with (folder / "said").open("w") as said:
        watching = subprocess.Popen(
            [sys.executable, "-m", "nemotron.lineage.cli.main", "sync", "--watch", "0.05"],
            cwd=folder, stdout=said, stderr=said,
            env={
                **os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns"), **_to_file(folder),
                "LINEAGE_STORE": str(place), "LINEAGE_MIRRORS": "openlineage",
            },
        )  # fmt: skip
    try:
        _wait_until(lambda: (folder / "events").exists() and len(_lines(folder)) == 3)
        place.rename(folder / "away")
        place.write_text("no folder")
        _wait_until(lambda: "Not a directory" in (folder / "said").read_text())
        place.unlink()
        (folder / "away").rename(place)
        train()
        _wait_until(lambda: len(_lines(folder)) == 6)
        assert watching.poll() is None
    finally:
        watching.kill()
        watching.wait()
    assert "Traceback" not in (folder / "said").read_text()


def _wait_until(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)
