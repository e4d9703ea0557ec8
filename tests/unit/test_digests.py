"""Fingerprints at once, digests of everything."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
from blake3 import blake3

from nemotron.lineage import ContentChanged, digest, fingerprint, listing
from nemotron.lineage.digests import digest_listing
from nemotron.lineage.listing import Listing
from nemotron.lineage.pace import Pace


def test_equal_content_has_an_equal_fingerprint_whatever_the_time(out: Path) -> None:
    before = fingerprint(out)
    os.utime(out / "weights.bin", (1, 1))
    assert fingerprint(out) == before


def test_fingerprint_sees_names_sizes_and_small_files(out: Path) -> None:
    seen = {fingerprint(out)}
    (out / "weights.bin").write_bytes(b"\x00" * 1001)
    seen.add(fingerprint(out))
    (out / "config.json").write_text('{"layers": 3}')
    seen.add(fingerprint(out))
    (out / "more").touch()
    seen.add(fingerprint(out))
    (out / "more").rename(out / "other")
    seen.add(fingerprint(out))
    assert len(seen) == 5


def test_fingerprint_reads_no_big_file(out: Path) -> None:
    big = out / "big.bin"
    big.write_bytes(b"\x00" * (2 << 20))
    before = fingerprint(out)
    big.write_bytes(b"\x01" * (2 << 20))
    assert fingerprint(out) == before
    assert digest(out).text != digest(out.parent).text


def test_random_id_of_torch_checkpoints_does_not_count(out: Path) -> None:
    (out / ".metadata").write_bytes(b"id-1")
    prints = fingerprint(out), digest(out)
    (out / ".metadata").write_bytes(b"id-2")
    assert (fingerprint(out), digest(out)) == prints


def test_our_own_intake_beside_checkpoints_does_not_count(out: Path) -> None:
    prints = fingerprint(out), digest(out)
    (out / ".lineage").mkdir()
    (out / ".lineage" / "writer.jsonl").write_text("x")
    assert (fingerprint(out), digest(out)) == prints


def test_digest_of_a_file_is_that_of_its_bytes(out: Path) -> None:
    found = digest(out / "config.json")
    assert found.text == "blake3:" + blake3((out / "config.json").read_bytes()).hexdigest()
    assert (found.size, found.files) == (13, 1)


def test_digest_of_a_folder_sees_every_byte(out: Path) -> None:
    (out / "sub").mkdir()
    (out / "sub" / "x").write_bytes(b"a" * 5000)
    before = digest(out)
    assert (before.size, before.files) == (6013, 3)
    (out / "sub" / "x").write_bytes(b"a" * 4999 + b"b")
    assert digest(out).text != before.text


def test_digest_tells_its_progress(out: Path) -> None:
    seen: list[int] = []
    digest(out, seen.append)
    assert sum(seen) == 1013


def test_dangling_link_is_content_by_its_name(out: Path) -> None:
    before = fingerprint(out), digest(out).text
    (out / "gone").symlink_to("nowhere")
    after = fingerprint(out), digest(out).text
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_link_in_a_circle_is_content_by_its_name(out: Path) -> None:
    before = fingerprint(out), digest(out).text
    (out / "circle").symlink_to("circle")
    after = fingerprint(out), digest(out).text
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_link_below_a_file_is_content_by_its_name(out: Path) -> None:
    (out / "file").write_bytes(b"x")
    before = fingerprint(out), digest(out).text
    (out / "below").symlink_to("file/below")
    after = fingerprint(out), digest(out).text
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_slow_disk_gives_the_same_fingerprint(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        (out / f"__{number}_0.distcp").write_bytes(b"x" * number)
    (out / "gone").symlink_to("nowhere")
    expected, stamps = fingerprint(out), Listing.of(out)
    ask, asking = listing.regular_status, set()

    def slow(entry: os.DirEntry[str]) -> os.stat_result | None:
        asking.add(threading.get_ident())
        time.sleep(0.002)
        return ask(entry)

    monkeypatch.setattr(listing, "regular_status", slow)
    assert fingerprint(out) == expected
    assert Listing.of(out) == stamps
    assert len(asking) > 10


def test_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fingerprint(tmp_path / "nope")


def test_links_to_folders_and_pipes_are_content_by_their_names(out: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    before = fingerprint(out), digest(out)
    (out / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(out / "pipe")
    after = fingerprint(out), digest(out)
    assert before[0] != after[0]
    assert before[1].text != after[1].text
    assert (after[1].size, after[1].files) == (1013, 4)
    (tmp_path / "elsewhere" / "file").touch()
    assert (fingerprint(out), digest(out)) == after


def test_link_to_a_file_is_read(out: Path, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"a" * 10)
    (out / "link").symlink_to(tmp_path / "blob")
    before = digest(out)
    (tmp_path / "blob").write_bytes(b"b" * 10)
    assert digest(out).text != before.text


def test_names_cannot_forge_lines_of_the_manifest(tmp_path: Path) -> None:
    plain, forged = tmp_path / "plain", tmp_path / "forged"
    for folder in (plain, forged):
        folder.mkdir()
    (plain / "a").write_bytes(b"1")
    (plain / "b").write_bytes(b"2")
    (forged / f"a\n{blake3(b'2').hexdigest()} 1 b").write_bytes(b"1")
    assert digest(plain).text != digest(forged).text
    (plain / "x\ny").touch()
    (forged / "x\\ny").touch()
    assert digest(plain).text != digest(forged).text


def test_names_that_are_no_text_are_read(out: Path) -> None:
    with open(os.fsencode(out) + b"/\xff\xfe", "wb") as file:
        file.write(b"x")
    assert digest(out).files == 3


def test_big_files_are_read_side_by_side_or_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "big"
    folder.mkdir()
    for at in range(3):
        (folder / str(at)).write_bytes(os.urandom((9 << 20) + at))
    found = set()
    for threads in (1, 3, 8):
        monkeypatch.setattr("nemotron.lineage.hashing.free_cores", lambda n=threads: n)
        found.add((digest(folder), digest(folder / "2").text))
    assert len(found) == 1
    ((_, one),) = found
    assert one == f"blake3:{blake3((folder / '2').read_bytes()).hexdigest()}"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [1000, 9 << 20])
def test_file_that_is_written_to_while_it_is_read_has_no_digest(
    out: Path, size: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemotron.lineage.hashing.free_cores", lambda: threads)
    path = out / "weights.bin"
    path.write_bytes(b"\x00" * size)
    before = path.stat()

    def write(count: int) -> None:
        with path.open("r+b") as file:
            file.write(b"\x01")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # and hides it

    with pytest.raises(ContentChanged, match=r"weights\.bin was written to while it was read"):
        digest(out, write)


def test_file_that_vanishes_while_others_are_read_has_no_digest(out: Path) -> None:
    with pytest.raises(ContentChanged, match="written to while it was read"):
        digest(out, lambda _: [path.unlink(missing_ok=True) for path in out.iterdir()])


def test_file_that_grows_without_end_is_given_up(out: Path) -> None:
    path = out / "weights.bin"

    def append(count: int) -> None:
        with path.open("ab") as file:
            file.write(b"\x00" * 2 * count)

    path.write_bytes(b"\x00" * (3 << 20))
    with pytest.raises(ContentChanged):
        digest(path, append)


def test_sha256_is_that_of_the_bytes_too(out: Path) -> None:
    listing = Listing.of(out / "config.json")
    found = digest_listing(listing, Pace(listing.size), algorithm="sha256")
    expected = hashlib.sha256((out / "config.json").read_bytes()).hexdigest()
    assert found.text == f"sha256:{expected}"
    whole = Listing.of(out)
    lines = "".join(
        f"{hashlib.sha256((out / name).read_bytes()).hexdigest()} {(out / name).stat().st_size}"
        f" {name}\n"
        for name in ("config.json", "weights.bin")
    )
    folder = digest_listing(whole, Pace(whole.size), algorithm="sha256")
    assert folder.text == f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


# ------------------------------------------------------------------------- listings


def test_listings_differ_once_somebody_wrote(out: Path) -> None:
    listing = Listing.of(out)
    assert Listing.of(out) == listing
    assert Listing.of(out).stamp == listing.stamp
    os.utime(out / "config.json", (1, 1))
    assert Listing.of(out) != listing
    assert Listing.of(out).stamp != listing.stamp


def test_listing_settles_until_a_write_would_be_seen(out: Path) -> None:
    for _ in range(20):
        (out / "config.json").write_text("a")
        listing = Listing.of(out)
        listing.settle()
        (out / "config.json").write_text("b")
        assert Listing.of(out) != listing


def test_listing_of_a_fast_clock_is_not_waited_for(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("nemotron.lineage.listing.time.sleep", waits.append)
    os.utime(out / "config.json", ns=(1, 4_000_000_000 * 10**9))  # in the future
    Listing.of(out).settle()
    assert waits == []
