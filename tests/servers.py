"""Servers of a test run, started by an ordinary user in a short temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import glob
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

import pytest


def postgres_binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL server on this machine."""
    folders = glob("/usr/lib/postgresql/*/bin") + glob("/usr/pgsql-*/bin")
    found = [Path(folder) for folder in folders if (Path(folder) / "initdb").exists()]
    if not found and (initdb := shutil.which("initdb")):
        found = [Path(initdb).resolve().parent]
    return max(found, key=lambda path: [int(w) for w in str(path).split("/") if w.isdigit()] or [0],
               default=None)  # fmt: skip


class PostgresServer:
    """A private server on a Unix socket.

    Args:
        folder: where its data and its socket lie; a socket's path is short.
        fsync: be as durable as a real one.
    """

    def __init__(self, folder: Path, *, fsync: bool = False) -> None:
        binaries = postgres_binaries()
        if binaries is None:
            pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
        self.folder, self._binaries, self._fsync = folder, binaries, fsync
        self._as_user: list[str] = []
        if os.getuid() == 0:  # which PostgreSQL refuses
            user = next(u for u in ("postgres", "nobody") if _exists(u))
            shutil.chown(folder, user)
            self._as_user = ["runuser", "-u", user, "--"]
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C",
                  "--no-sync")  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = (
            f"-c listen_addresses='' -c unix_socket_directories={self.folder}"
            f" -c max_connections=150 -c fsync={'on' if self._fsync else 'off'}"
        )
        self._run("pg_ctl", "-w", "-s", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; ``immediate`` is as if it were killed."""
        self._run("pg_ctl", "-m", mode, "-s", "stop")

    def _run(self, program: str, *words: str) -> None:
        command = [*self._as_user, str(self._binaries / program), "-D", str(self.folder / "data")]
        # not into a pipe: the server would hold it open
        with (self.folder / "out").open("a") as out:
            subprocess.run([*command, *words], stdout=out, stderr=out, check=True, cwd=self.folder)

    def address(
        self, schema: str | None = None, user: str = "postgres", *, host: object = None
    ) -> str:
        """Return the address of a store of its own."""
        schema = schema or f"t{uuid4().hex[:12]}"
        return f"postgresql:///postgres?host={host or self.folder}&user={user}&schema={schema}"

    @contextmanager
    def wire(self, **options: float) -> Iterator[tuple[Wire, Path]]:
        """Stand between the server and clients that use the folder given out as their host."""
        folder = Path(tempfile.mkdtemp(prefix="wire-", dir="/tmp"))
        name = ".s.PGSQL.5432"
        wire = Wire(str(self.folder / name), str(folder / name), **options)
        try:
            yield wire, folder
        finally:
            wire.close()
            shutil.rmtree(folder, ignore_errors=True)

    def sql(self, statement: str, user: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as a client of its own."""
        import psycopg

        with psycopg.connect(
            host=str(self.folder), user=user, dbname="postgres", autocommit=True
        ) as db:
            cursor = db.execute(statement)  # type: ignore[call-overload]  # text of a test
            return cursor.fetchall() if cursor.description else []


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


@contextmanager
def postgres_server(*, fsync: bool = False) -> Iterator[PostgresServer]:
    """Start a server, and remove it with all it holds."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    folder.chmod(0o755)
    server = None
    try:
        server = PostgresServer(folder, fsync=fsync)
        yield server
    finally:
        if server is not None:
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


class BucketServer:
    """An S3 endpoint on loopback: moto, in a process of its own.

    It proves our logic, not that a real store decides atomically: moto is one process.
    """

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline, "moto did not start"
                time.sleep(0.02)
            else:
                break
        self._request("PUT", "/stores")

    def _request(self, method: str, path: str) -> None:
        connection = HTTPConnection("127.0.0.1", self.port)
        connection.request(method, path)
        connection.getresponse().read()
        connection.close()

    def environ(self, port: int | None = None) -> dict[str, str]:
        """Return what clients need to know."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "planted-key",
            "AWS_REGION": "us-east-1",
        }

    @staticmethod
    def address(name: str | None = None) -> str:
        """Return the address of a store of its own."""
        return f"s3://stores/{name or uuid4().hex[:12]}"

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Wire:
    """Stands between clients and a server: delays, loses replies, goes dead.

    Args:
        target: the server's socket: a path, or (host, port).
        here: the path to listen at; None takes a free port on loopback.
        delay: seconds that every message to the server takes longer.
        rewrite: what to put in place of what, in messages to the server.
    """

    def __init__(
        self,
        target: str | tuple[str, int],
        here: str | None = None,
        *,
        delay: float = 0.0,
        rewrite: tuple[bytes, bytes] | None = None,
    ) -> None:
        self._target, self.delay, self._rewrite = target, delay, rewrite
        self._lose: bytes | None = None
        self._instead = b""
        self.lost = 0
        self._dead = False
        self._open: set[socket.socket] = set()
        if here is None:
            self._socket = socket.create_server(("127.0.0.1", 0))
        else:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(here)
            self._socket.listen(64)
        self.port = self._socket.getsockname()[1] if here is None else 0
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_reply(self, to: bytes, instead: bytes = b"") -> None:
        """Let the server do what the next message with these bytes asks, and cut off the reply.

        ``instead`` is what the client gets to hear before the connection ends.
        """
        self._lose, self._instead = to, instead

    def go_dead(self, *, dead: bool = True) -> None:
        """Cut all connections and take no more, until called with ``dead=False``."""
        self._dead = dead
        for each in list(self._open):
            _close(each)

    def close(self) -> None:
        """Give the socket back."""
        self.go_dead()
        _close(self._socket)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            if self._dead:
                _close(client)
                continue
            kind = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
            server = socket.socket(kind)
            server.connect(self._target)
            self._open |= {client, server}
            losing = threading.Event()
            for act in (self._forth, self._back):
                threading.Thread(target=act, args=(client, server, losing), daemon=True).start()

    def _forth(self, client: socket.socket, server: socket.socket, losing: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self.delay:
                    time.sleep(self.delay)
                if self._lose is not None and self._lose in data:
                    self._lose = None
                    losing.set()
                server.sendall(data.replace(*self._rewrite) if self._rewrite else data)
        _close(server)

    def _back(self, client: socket.socket, server: socket.socket, losing: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if losing.is_set():
                    self.lost += 1
                    if self._instead:
                        client.sendall(self._instead)
                    break
                client.sendall(data)
        _close(client)
        _close(server)
        self._open -= {client, server}


def _close(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
