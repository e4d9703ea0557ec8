"""Fingerprints at once, digests of everything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from nemotron.lineage import digest, fingerprint


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


def test_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fingerprint(tmp_path / "nope")
