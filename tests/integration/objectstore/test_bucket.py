"""What a bucket does to a store: lost replies, conditions that nobody honours, forks, logins."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers import BucketServer, Wire

from nemotron import lineage
from nemotron.lineage import (
    Lineage,
    StoreBusy,
    StoreNotFoundError,
    StoreReadOnly,
    StoreUnreachable,
    StoreUnsuitable,
    audit,
    combine,
)
from nemotron.lineage.journal import bucket as buckets
from nemotron.lineage.journal import far
from nemotron.lineage.journal.bucket import Bucket
from nemotron.lineage.journal.objectstore import ObjectStoreJournal
from nemotron.lineage.mirror.lease import Holder, Lease, leases_of
from nemotron.lineage.testing import publish


@pytest.fixture
def address(endpoint: BucketServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a store that is not made yet, with the environment that it needs."""
    for name, value in endpoint.environ().items():
        monkeypatch.setenv(name, value)
    return endpoint.address()


@pytest.fixture
def store(address: str) -> Iterator[Lineage]:
    with lineage.open(address) as store:
        yield store


@pytest.fixture
def wire(
    endpoint: BucketServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Wire]:
    """A wire to the endpoint that a test may cut; the environment leads through it."""
    wire = Wire(("127.0.0.1", endpoint.port), **getattr(request, "param", {}))
    for name, value in endpoint.environ(wire.port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(buckets, "_RETRIES", 0)
    yield wire
    wire.close()


@pytest.fixture
def wired(wire: Wire) -> Iterator[tuple[Lineage, Wire]]:
    with lineage.open(BucketServer.address()) as store:
        yield store, wire


# ----------------------------------------------------------------------- requests


def test_publish_is_one_listing_and_one_put(
    store: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(publish(path="/1"))
    asked: list[str] = []
    real = Bucket._call

    def count(self: Bucket, operation: str, *words: object) -> object:
        asked.append(operation)
        return real(self, operation, *words)

    monkeypatch.setattr(Bucket, "_call", count)
    store.commit(publish(path="/2"))
    assert asked == ["between", "put"]


def test_taken_records_are_removed(store: Lineage, address: str) -> None:
    for number in range(3):
        store.journal.intakes.crowd({}).append(publish(path=f"/{number}"))
    assert store.pending() == 3
    assert len(store.log("model")) == 3
    assert Bucket(address).names("intake") == []


def test_taken_record_that_was_not_removed_is_taken_once_and_removed_later(
    store: Lineage, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.journal.intakes.crowd({}).append(publish(path="/1"))
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "remove", lambda *_: 1 / 0 if not isinstance(_[1], list) else None)
        store.combine()
    assert Bucket(address).names("intake")
    assert len(store.log("model")) == 1
    store.commit(publish(path="/2"))
    assert Bucket(address).names("intake") == []
    assert len(store.log("model")) == 2


# ------------------------------------------------------------------- lost replies


def test_lost_reply_of_a_commit_is_found_out(wired: tuple[Lineage, Wire]) -> None:
    store, wire = wired
    store.commit(publish(path="/1"))
    wire.lose_reply(b"PUT /stores")
    assert store.commit(publish(path="/2")).version == ("model", 2)
    assert wire.lost == 1
    assert [v.address for v in store.log("model")] == ["/2", "/1"]
    assert audit.fsck(store).is_clean


def test_put_that_the_client_repeats_by_itself_is_known_as_ours(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    from obstore.exceptions import AlreadyExistsError

    monkeypatch.setattr(buckets, "_RETRIES", 3)
    real, refused = buckets._Client.put, []

    def put(self: buckets._Client, *words: object) -> None:
        try:
            real(self, *words)  # type: ignore[arg-type]  # whatever there is
        except AlreadyExistsError:
            refused.append(words[0])
            raise

    monkeypatch.setattr(buckets._Client, "put", put)
    with lineage.open(BucketServer.address()) as store:
        store.commit(publish(path="/1"))
        refused.clear()
        failure = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        wire.lose_reply(b"PUT /stores", failure)
        assert store.commit(publish(path="/2")).version == ("model", 2)
        assert refused == ["commits/000000002.json"]  # its own one, on the second asking
        assert [v.address for v in store.log("model")] == ["/2", "/1"]
        assert store.journal.head().number == 2


def test_name_that_is_taken_by_our_own_content_is_ours(address: str) -> None:
    bucket = Bucket(address)
    bucket.put_new("x", b"salted")
    bucket.put_new("x", b"salted")
    with pytest.raises(FileExistsError):
        bucket.put_new("x", b"other")


def test_name_that_is_removed_while_another_asks_for_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner removes a lease between another's refused PUT and the look at whose it is."""
    bucket, owner = Bucket(address), Bucket(address)
    owner.put_new("mirrors/1", b"another's")
    call = bucket._call

    def remove_first(operation: str, *words: object) -> object:
        if operation.startswith("read"):
            owner.remove(["mirrors/1"])
        return call(operation, *words)

    monkeypatch.setattr(bucket, "_call", remove_first)
    with pytest.raises(FileExistsError):
        bucket.put_new("mirrors/1", b"ours")
    bucket.put_new("mirrors/1", b"ours")


def test_lost_reply_of_a_waiting_record_doubles_nothing(wired: tuple[Lineage, Wire]) -> None:
    store, wire = wired
    writer = store.journal.intakes.crowd({})
    wire.lose_reply(b"PUT /stores")
    writer.append(publish(path="/1"))
    writer.append(publish(path="/2"))
    assert wire.lost == 1
    assert [v.address for v in store.log("model")] == ["/2", "/1"]


def test_unreachable_bucket_costs_the_number_not_the_record(
    wired: tuple[Lineage, Wire], monkeypatch: pytest.MonkeyPatch, out: Path
) -> None:
    monkeypatch.setattr(combine, "_UNREACHABLE", 0.2)
    store, wire = wired
    with store.run("train", intake=out) as run:
        store.commit(publish(path="/1"))
        wire.go_dead()
        with pytest.raises(StoreBusy, match="safe in the intake"):
            store.commit(publish(path="/2"))
        run.record("hooked", path=out, type="model")
        with pytest.raises(StoreUnreachable, match="does not answer"):
            store.resolve("model")
        wire.go_dead(dead=False)
        assert [v.address for v in store.log("model")] == ["/2", "/1"]
        assert store.resolve("hooked").path == out
        assert audit.fsck(store).is_clean


def test_records_that_wait_in_a_container_are_warned_of(
    store: Lineage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for kind, warnings in (("local", 0), ("fleeting", 1)):
        monkeypatch.setattr(far, "filesystem", lambda _, kind=kind: (kind, "?"))
        for number in range(2):
            store.intake_writer(None, run="r").append(publish(path=f"/{kind}/{number}"))
        said = [each for each in caplog.messages if "gone with this container" in each]
        assert len(said) == warnings


# ----------------------------------------------------------------- unfit endpoints


@pytest.mark.parametrize("wire", [{"rewrite": (b"if-none-match", b"if-none-xxxxx")}], indirect=True)
@pytest.mark.usefixtures("wire")
def test_endpoint_that_does_not_honour_the_condition_is_refused() -> None:
    address = BucketServer.address()
    with pytest.raises(StoreUnsuitable, match="does not honour If-None-Match"):
        lineage.open(address)
    bucket = Bucket(address)
    assert bucket.between("", "~") == []


def test_bucket_that_is_not_there_is_no_store(address: str) -> None:
    with pytest.raises(StoreNotFoundError, match="there is no store"):
        lineage.open(address.replace("stores", "nope-nope"), create=False)
    with pytest.raises(
        StoreNotFoundError, match=r"there is no bucket for s3://nope-nope/\S+; make"
    ):
        lineage.open(address.replace("stores", "nope-nope"))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("s3:///", "names no bucket; use e.g. s3://bucket/prefix"),
        ("az://container/x", "Account must be specified; set AZURE_STORAGE_ACCOUNT_NAME and"),
    ],
)
def test_address_that_cannot_be_opened_is_one_sentence(address: str, sentence: str) -> None:
    with pytest.raises(StoreUnsuitable, match=sentence) as refused:
        lineage.open(address)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    ["s3://AKIAIOSFODNN7EXAMPLE:hunter2@bucket/x", "s3://bucket/x?X-Amz-Signature=hunter2"],
)
def test_login_in_an_address_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(StoreUnsuitable, match="holds no login or key") as refused:
        lineage.open(address)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("address", ["gs://bucket/x", "az://container/x"])
def test_other_providers_are_asked_by_their_own_clients(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from obstore.store import AzureStore, GCSStore

    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "someone")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "cGxhbnRlZA==")
    store = buckets._open(address, os.environ)
    assert isinstance(store, (GCSStore, AzureStore))
    assert store.prefix == "x"


def test_credentials_come_from_the_shared_files_of_aws(
    endpoint: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path.home() / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        "[team]\naws_access_key_id = someone\naws_secret_access_key = planted-key\n"
    )
    (folder / "config").write_text("[profile team]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_PROFILE", "team")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.environ()["AWS_ENDPOINT_URL"])
    monkeypatch.setitem(sys.modules, "obstore.auth.boto3", None)  # without AWS's own client
    found = buckets._aws(os.environ)
    assert found["access_key_id"] == "someone"
    assert found["region"] == "eu-west-1"
    with lineage.open(endpoint.address()) as store:
        assert store.commit(publish()).version == ("model", 1)


def test_keys_get_into_no_file_and_no_object(store: Lineage, address: str, out: Path) -> None:
    with store.run("x") as run:
        run.publish("model", path=out, type="model")
    store.combine()
    bucket = Bucket(address)
    for name in bucket.between("", "~"):
        assert b"planted-key" not in bucket.read(name), name
    for path in Path.home().rglob("*"):
        assert not path.is_file() or b"planted-key" not in path.read_bytes(), path


# -------------------------------------------------------------------------- forks


def test_forked_child_of_a_child_asks_for_itself(store: Lineage) -> None:
    store.commit(publish(path="/parent"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.commit(publish(path="/child"))
            grandchild = os.fork()
            if grandchild == 0:
                try:
                    store.commit(publish(path="/grandchild"))
                    os._exit(0)
                finally:
                    os._exit(1)
            status = os.waitpid(grandchild, 0)[1]
            store.close()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert {v.address for v in store.log("model")} == {"/parent", "/child", "/grandchild"}


def test_error_of_a_helper_is_the_same_error(address: str) -> None:
    bucket = Bucket(address)
    bucket.put_new("x", b"1")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with pytest.raises(FileExistsError):
                bucket.put_new("x", b"2")
            with pytest.raises(FileNotFoundError):
                bucket.read("nope")
            bucket.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_refused_credentials_are_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from obstore.exceptions import PermissionDeniedError

    store = lineage.open(address)
    assert isinstance(store.journal, ObjectStoreJournal)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionDeniedError("403 Forbidden")

    store.commit(publish())
    monkeypatch.setattr("obstore.put", refuse)
    with pytest.raises(StoreReadOnly, match="may not do that; ask its owner"):
        store.commit(publish(path="/2"))
    store.close()


def test_lease_of_a_mirror_holds_for_all_hosts(store: Lineage) -> None:
    shelf = store.journal.shelf
    assert shelf is not None
    with Lease.take(shelf, leases_of("wandb"), "run:1") as lease:
        assert isinstance(lease, Lease)
        assert lease.is_mine
        lease.mark_busy()
        assert isinstance(Lease.take(shelf, leases_of("wandb"), "run:1"), Holder)
    following = Lease.take(shelf, leases_of("wandb"), "run:1")
    assert isinstance(following, Lease)
    assert (following.fence, lease.is_mine) == (2, False)
    following.release()
    assert len(shelf.names(leases_of("wandb"))) == 1
