"""The wire: GraphQL, uploads and the stream of a run's files, over HTTP on the loopback."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

from . import reading, runs, writing  # noqa: F401 - each adds its operations
from .faults import Faults
from .operations import OPERATIONS, Call
from .world import World

__all__ = ["Server", "serving"]


class Server(ThreadingHTTPServer):
    """A server with its state, its faults, and every question that was asked of it, in order."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *, eager_aliases: bool = True, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.world = World(eager_aliases=eager_aliases)
        self.faults = Faults()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.unknown: list[str] = []  # operations that nobody taught it
        self.logins: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def exits(self) -> list[int]:
        """The exit codes of the runs that are complete."""
        return [said["exitcode"] for name, said in self.asked if said.get("complete")]

    def place(self, name: str) -> str:
        """Return the address to upload to, and to read from later."""
        return f"{self.url}/upload/{quote(name, safe='/')}"

    def answer(self, name: str, query: str, said: dict[str, Any]) -> dict[str, Any]:
        """Do what a GraphQL operation asks for."""
        operation = OPERATIONS.get(name)
        if operation is None:
            self.unknown.append(name)
            raise ValueError(f"{name} is not known here")
        with self.world.lock:
            return operation(Call(self.world, said, query, self.place))

    def stream(self, path: str, said: dict[str, Any]) -> None:
        """Take what a run tells of itself."""
        entity, project, name = (unquote(each) for each in path.split("/")[2:5])
        with self.world.lock:
            run = self.world.runs.get((entity, project, name))
            summary = (said.get("files") or {}).get("wandb-summary.json")
            if run is not None and summary:
                run.summary = json.loads(summary["content"][-1])
            if run is not None and said.get("complete"):
                run.exit_code = said.get("exitcode")
                run.state = "failed" if run.exit_code else "finished"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one piece, or each answer takes 40 ms

    def do_POST(self) -> None:
        self.server.logins.add(self.headers.get("Authorization", ""))
        body = json.loads(self._body() or b"{}")
        if self.path != "/graphql":  # /files/ENTITY/PROJECT/RUN/file_stream
            self._act("file_stream", body, lambda: self._stream(body))
            return
        query = body.get("query") or ""
        name = body.get("operationName") or re.findall(r"(?:query|mutation) (\w+)", query)[:1]
        name = name if isinstance(name, str) else "".join(name) or "anonymous"
        said = body.get("variables") or {}
        self._act(name, said, lambda: self._graphql(name, query, said))

    def do_PUT(self) -> None:
        content = self._body()
        self._act("upload", {"path": self.path}, lambda: self._keep(content))

    def do_GET(self) -> None:
        content = self.server.world.blobs.get(self.path)
        if content is None:
            self._send(404, b"{}")
        else:
            self._send(200, content, kind="application/octet-stream")

    def _act(self, name: str, said: dict[str, Any], do: Any) -> None:
        status = self.server.faults.before(name)
        if status == 0:
            self.close_connection = True
            return
        if status is not None:
            self._send(status, json.dumps({"errors": [{"message": f"told to {status}"}]}).encode())
            return
        self.server.asked.append((self.path if name == "file_stream" else name, said))
        answer = do()
        if self.server.faults.loses(name):
            self.close_connection = True
            return
        self._send(200, json.dumps(answer).encode())

    def _graphql(self, name: str, query: str, said: dict[str, Any]) -> object:
        try:
            return {"data": self.server.answer(name, query, said)}
        except (ValueError, KeyError) as error:
            return {"data": None, "errors": [{"message": str(error)}]}

    def _stream(self, said: dict[str, Any]) -> object:
        self.server.stream(self.path, said)
        return {"exitcode": None, "limits": {}}

    def _keep(self, content: bytes) -> object:
        self.server.world.blobs[self.path] = content
        return {}

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

    def _send(self, status: int, body: bytes, *, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(*, eager_aliases: bool = True) -> Iterator[Server]:
    """Serve until the block ends."""
    server = Server(eager_aliases=eager_aliases)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.faults.clear()
        server.shutdown()
        thread.join()
        server.server_close()
