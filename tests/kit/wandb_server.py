"""A W&B server for one test: answers what a run asks for, and remembers it."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Every question that was asked of it, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.logins: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def runs(self) -> dict[str, dict[str, Any]]:
        """What was told about each run, by its id."""
        found: dict[str, dict[str, Any]] = {}
        for name, said in self.asked:
            if name == "UpsertBucket":
                known = {key: value for key, value in said.items() if value is not None}
                found.setdefault(said["name"], {}).update(known)
        return found

    @property
    def exits(self) -> list[int]:
        """The exit codes of the runs that are complete."""
        return [said["exitcode"] for name, said in self.asked if said.get("complete")]

    def answer(self, name: str, said: dict[str, Any]) -> dict[str, Any]:
        """Return the data that satisfies wandb 0.31."""
        team = {"id": "e1", "name": said.get("entity") or "default-team"}
        project = {"id": "p1", "name": said.get("project"), "entity": team}
        run = {
            "id": "r1", "name": said.get("name"), "displayName": said.get("displayName") or "r",
            "description": "", "config": "{}", "sweepName": None, "historyLineCount": 0,
            "project": project,
        }  # fmt: skip
        viewer = {
            "id": "u1", "entity": "default-team", "username": "me", "email": "me@example.com",
            "flags": "{}", "teams": {"edges": []},
        }  # fmt: skip
        return {
            "Viewer": {"viewer": viewer},
            "UpsertBucket": {"upsertBucket": {"inserted": True, "bucket": run}},
            "OrganizationCoreWeaveOrganizationID": {"entity": {"organization": None}},
            "ServerFeaturesQuery": {"serverInfo": {"features": []}},
            "CreateRunFiles": {
                "createRunFiles": {
                    "runID": "r1", "uploadHeaders": [],
                    "files": [
                        {"name": each, "uploadUrl": f"{self.url}/upload/{each}"}
                        for each in said.get("files", ())
                    ],
                }
            },
        }[name]  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one piece, or each answer takes 40 ms

    def do_POST(self) -> None:
        self.server.logins.add(self.headers.get("Authorization", ""))
        body = json.loads(self._body())
        if self.path != "/graphql":  # /files/ENTITY/PROJECT/RUN/file_stream
            self.server.asked.append((self.path, body))
            self._reply({"exitcode": None, "limits": {}})
            return
        name = (
            body.get("operationName") or re.findall(r"(?:query|mutation) (\w+)", body["query"])[0]
        )
        said = body.get("variables") or {}
        self.server.asked.append((name, said))
        try:
            self._reply({"data": self.server.answer(name, said)})
        except KeyError:
            self._reply({"data": None, "errors": [{"message": f"{name} is not known here"}]})

    def do_PUT(self) -> None:
        self._body()
        self._reply({})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _reply(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """Serve until the block ends."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
