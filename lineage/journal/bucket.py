"""One bucket of an object store, by way of obstore: S3, GCS, Azure and what speaks like them.

Credentials come from where each provider's clients look for them, never from the address.

The client runs threads of its own, which a forked child does not have, so that it would wait for
ever. A child therefore asks through a helper: a fresh process that does nothing else.
"""

from __future__ import annotations

import configparser
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..errors import LineageError, StoreReadOnly, StoreUnreachable, StoreUnsuitable
from ..process import PerProcess
from ..shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from obstore.store import ObjectStore

__all__ = ["Bucket"]

_TOGETHER = 16  # requests at a time
_TIMEOUT = timedelta(seconds=30)
_CONNECT_TIMEOUT = timedelta(seconds=5)
_RETRIES = 3
_RETRY_TIMEOUT = timedelta(seconds=20)
_INSTANCE = "169.254.169.254"
_VARIABLES = (
    ("AWS_DEFAULT_REGION", "region"), ("AWS_REGION", "region"),
    ("AWS_ENDPOINT_URL", "endpoint"), ("AWS_ENDPOINT_URL_S3", "endpoint"),
    ("AWS_ACCESS_KEY_ID", "access_key_id"), ("AWS_SECRET_ACCESS_KEY", "secret_access_key"),
    ("AWS_SESSION_TOKEN", "session_token"),
)  # fmt: skip
_SETTINGS = ("region", "aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_LOGINS = {
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_MARK = "nemotron_lineage_pid"  # on obstore itself: which process its threads run in
_HELPER = """
import sys
sys.path[:] = {path!r}
from nemotron.lineage.journal.bucket import serve
serve()
"""


class Bucket(Shelf, PerProcess):
    """The objects below one prefix. Safe in threads and in forked children.

    Args:
        address: ``s3://bucket/prefix``, ``gs://...``, ``az://container/prefix``.
        environ: for credentials and endpoints, by default that of the process.

    Raises:
        StoreUnsuitable: obstore is not installed, or the address holds a login or no bucket.
    """

    def __init__(self, address: str, environ: Mapping[str, str] | None = None) -> None:
        _, _, rest = address.partition("://")
        if "@" in rest.partition("/")[0] or "?" in rest:
            raise StoreUnsuitable(
                "the address of a store holds no login or key, since it is recorded and shown; "
                "give it by the environment or the files of the provider's own tools"
            )
        if not rest.strip("/"):
            raise StoreUnsuitable(f"{address} names no bucket; use e.g. s3://bucket/prefix")
        self._address, self._environ = address, dict(os.environ if environ is None else environ)
        super().__init__()

    def _begin(self) -> None:
        self._opening = threading.Lock()
        self._client: _Client | _Helper | None = None

    def _call(self, operation: str, *words: Any) -> Any:  # whatever the operation returns
        self._own()
        with self._opening:
            if self._client is None:
                self._client = self._connect()
        return self._client.call(operation, *words)

    def _connect(self) -> _Client | _Helper:
        try:
            import obstore
        except ImportError:
            raise StoreUnsuitable(
                f"{self._address} needs obstore; try: pip install 'nemotron-lineage[s3]'"
            ) from None
        if getattr(obstore, _MARK, os.getpid()) != os.getpid():
            return _Helper(self._address, self._environ)
        setattr(obstore, _MARK, os.getpid())
        return _Client(self._address, self._environ)

    def close(self) -> None:
        """Give everything back; the next request opens it again."""
        self._own()
        if self._client is not None:
            self._client.close()
            self._client = None

    # -------------------------------------------------------------- operations

    def where(self, name: str) -> str:
        """Say where a name lies."""
        return f"{self._address}/{name}"

    def between(self, after: str, until: str, folder: str | None = None) -> list[str]:
        """List names behind ``after`` and before ``until``, in one folder or all, sorted."""
        found: list[str] = self._call("between", after, until, folder)
        return found

    def names(self, folder: str, *, after: str = "", whole: bool = True) -> list[str]:
        """List the names of objects directly in a folder."""
        del whole  # what is not whole has no name
        front = f"{folder}/"
        found = self.between(front + after, f"{folder}0", folder)  # "0" is what follows "/"
        return [name.removeprefix(front) for name in found]

    def ages(self, folder: str) -> Mapping[str, float]:
        """Map the names of objects to their ages, by the provider's clock and ours."""
        found: dict[str, float] = self._call("ages", folder)
        return found

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Read an object."""
        data: bytes = self._call("read", name, offset, size)
        return data

    def read_many(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """Yield the contents of objects."""
        if names:
            yield from self._call("read_many", list(names))

    def put_new(self, name: str, data: bytes) -> None:
        """Create an object, on the condition that there is none of that name."""
        try:
            self._call("put", name, data, "create")
        except FileExistsError:
            # by us, if the client asked twice because a reply was lost: no two contents are alike
            (there,) = self.read_many([name])
            if there != data:  # None: it was there, and is removed by now
                raise

    def put_over(self, name: str, data: bytes) -> None:
        """Create or replace an object."""
        self._call("put", name, data, "overwrite")

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects."""
        gone = list(names)
        if gone:
            self._call("remove", gone)

    def send(self, path: str, name: str) -> None:
        """Put a file, in pieces."""
        self._call("send", path, name)

    def fetch(self, name: str, path: str) -> None:
        """Copy an object to a file, in pieces."""
        self._call("fetch", name, path)


class _Client:
    """Asks the provider, in the process that obstore's threads run in."""

    def __init__(self, address: str, environ: Mapping[str, str]) -> None:
        from obstore.exceptions import BaseError

        self._shown = address
        try:
            self._store = _open(address, environ)
        except BaseError as error:
            raise StoreUnsuitable(
                f"{address} cannot be opened: {_first_line(error)}; set {_settings(address)}"
            ) from error

    def call(self, operation: str, *words: Any) -> Any:  # whatever the operation returns
        from obstore.exceptions import BaseError

        try:
            return getattr(self, operation)(*words)
        except BaseError as error:
            raise self._explain(error) from error

    def close(self) -> None:
        pass

    def _explain(self, error: Exception) -> LineageError | OSError:
        name = type(error).__name__
        if name == "AlreadyExistsError":
            return FileExistsError(str(error))
        if name == "NotFoundError":
            return FileNotFoundError(str(error))
        if name in ("PermissionDeniedError", "UnauthenticatedError"):
            return StoreReadOnly(f"{self._shown}: these credentials may not do that; ask its owner")
        if name == "NotSupportedError" or "NotImplemented" in str(error):
            return StoreUnsuitable(f"{self._shown} does not know what the journal needs")
        if _INSTANCE in str(error):  # the last place where AWS's clients look
            return StoreReadOnly(
                f"{self._shown}: no credentials were found; set {_settings(self._shown)}"
            )
        return StoreUnreachable(f"{self._shown} does not answer: {_first_line(error)}")

    def between(self, after: str, until: str, folder: str | None) -> list[str]:
        import obstore

        found: list[str] = []
        for page in obstore.list(self._store, folder, offset=after or None):
            for item in page:  # in order: S3, GCS and Azure say so
                if item["path"] >= until:
                    return found
                found.append(item["path"])
        return found

    def ages(self, folder: str) -> dict[str, float]:
        import obstore

        now = datetime.now(UTC)
        return {
            item["path"].removeprefix(f"{folder}/"): (now - item["last_modified"]).total_seconds()
            for page in obstore.list(self._store, folder)
            for item in page
        }

    def read(self, name: str, offset: int, size: int | None) -> bytes:
        import obstore

        if size is not None:
            part = obstore.get_range(self._store, name, start=offset, length=size)
            return bytes(part)
        data = bytes(obstore.get(self._store, name).bytes())
        return data[offset:]

    def read_many(self, names: list[str]) -> list[bytes | None]:
        def one(name: str) -> bytes | None:
            try:
                found: bytes = self.call("read", name, 0, None)
            except FileNotFoundError:
                return None
            return found

        if len(names) < 2:
            return [one(name) for name in names]
        with ThreadPoolExecutor(max_workers=min(_TOGETHER, len(names))) as pool:
            return list(pool.map(one, names))

    def put(self, name: str, data: bytes, mode: Any) -> None:
        import obstore

        obstore.put(self._store, name, data, mode=mode, use_multipart=False)

    def remove(self, names: list[str]) -> None:
        import obstore

        with suppress(FileNotFoundError):
            obstore.delete(self._store, names)

    def send(self, path: str, name: str) -> None:
        import obstore

        with open(path, "rb") as file:
            obstore.put(self._store, name, file)

    def fetch(self, name: str, path: str) -> None:
        import obstore

        with open(path, "wb") as file:
            file.writelines(obstore.get(self._store, name).stream())


class _Helper:
    """Asks through a process of its own, one question at a time."""

    def __init__(self, address: str, environ: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        command = [sys.executable, "-c", _HELPER.format(path=sys.path)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
        )
        self._tell((address, dict(environ)))

    def _tell(self, what: object) -> None:
        assert self._process.stdin is not None  # a pipe
        pickle.dump(what, self._process.stdin)
        self._process.stdin.flush()

    def call(self, operation: str, *words: Any) -> Any:  # whatever the operation returns
        with self._lock:
            try:
                self._tell((operation, words))
                assert self._process.stdout is not None  # a pipe
                fine, answer = pickle.load(self._process.stdout)  # noqa: S301 - our own process
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                raise StoreUnreachable(f"the helper for the bucket ended: {error}") from error
        if not fine:
            raise answer
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    """Answer the questions of a process that was forked, until it ends."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    address, environ = pickle.load(questions)  # noqa: S301 - the process that started us
    client = _Client(address, environ)
    while True:
        try:
            operation, words = pickle.load(questions)  # noqa: S301 - the same
        except EOFError:
            return
        try:
            answer: tuple[bool, object] = (True, client.call(operation, *words))
        except (LineageError, OSError) as error:
            answer = (False, error)
        pickle.dump(answer, answers)
        answers.flush()


def _open(address: str, environ: Mapping[str, str]) -> ObjectStore:
    from obstore import store as stores

    scheme, _, rest = address.partition("://")
    bucket, _, prefix = rest.partition("/")
    options: dict[str, Any] = {
        "prefix": prefix.strip("/") or None,
        "client_options": {"timeout": _TIMEOUT, "connect_timeout": _CONNECT_TIMEOUT},
        "retry_config": {"max_retries": _RETRIES, "retry_timeout": _RETRY_TIMEOUT},
    }
    if scheme == "gs":
        return stores.GCSStore(bucket, **options)
    if scheme == "az":
        return stores.AzureStore(bucket, **options)
    options |= _aws(environ)
    if options.get("endpoint", "").startswith("http://"):
        options["client_options"]["allow_http"] = True
    return stores.S3Store(bucket, **options)


def _first_line(error: Exception) -> str:
    """Return what an error of the client says, without the body of an answer."""
    return str(error).partition("\n")[0].partition(": <")[0]


def _settings(address: str) -> str:
    """Name the variables in which a provider's clients look for credentials."""
    return _LOGINS[address.partition("://")[0]]


def _aws(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what AWS's own tools would use: the environment, then their shared files."""
    found = {key: environ[name] for name, key in _VARIABLES if environ.get(name)}
    if "access_key_id" in found and not environ.get("AWS_PROFILE"):
        return found
    with suppress(ImportError, ValueError):
        from obstore.auth.boto3 import Boto3CredentialProvider

        return {**found, "credential_provider": Boto3CredentialProvider()}
    home = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".aws")
    files = (
        environ.get("AWS_CONFIG_FILE") or os.path.join(home, "config"),
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.join(home, "credentials"),
    )
    parser = configparser.RawConfigParser()
    parser.read(files)
    profile = environ.get("AWS_PROFILE") or "default"
    return found | {
        key.removeprefix("aws_"): parser.get(section, key)
        for section in (f"profile {profile}", profile)
        if parser.has_section(section)
        for key in _SETTINGS
        if parser.has_option(section, key)
    }
