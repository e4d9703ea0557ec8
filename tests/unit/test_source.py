"""Outside assets as values."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron.lineage import SourceURI, URIError


@pytest.mark.parametrize(
    ("text", "uri", "revision"),
    [
        ("hf://org/raw-text@main", "hf://org/raw-text", "main"),
        ("hf://datasets/org/x@refs%2Fpr%2F1/data/a.json", "hf://datasets/org/x/data/a.json",
         "refs/pr/1"),
        ("hf://gpt2", "hf://gpt2", None),
        ("HTTPS://Example.org:443/a/../b//c/?b=2&a=1", "https://example.org/b//c?a=1&b=2", None),
        ("http://h:8080/x", "http://h:8080/x", None),
        ("s3://Bucket/key/./..?versionId=7", "s3://Bucket/key/./..", "7"),
        ("gs://b/k?generation=12", "gs://b/k", "12"),
        ("git+https://github.com/org/repo.git@v1.2", "git+https://github.com/org/repo.git", "v1.2"),
        ("https://h/p?X-Amz-Signature=abc&X-Amz-Date=1&file=a", "https://h/p?file=a", None),
        ("https://h/p?sig=abc&se=2026", "https://h/p", None),
        ("lakefs://Repo/main/x", "lakefs://Repo/main/x", None),
    ],
)  # fmt: skip
def test_address_is_normalised(text: str, uri: str, revision: str | None) -> None:
    source = SourceURI.parse(text)
    assert (source.uri, source.revision) == (uri, revision)
    assert SourceURI.parse(str(source)) == source


def test_local_path_becomes_absolute_and_loses_links(tmp_path: Path) -> None:
    (tmp_path / "a b%").mkdir()
    (tmp_path / "latest").symlink_to("a b%")
    source = SourceURI.parse(tmp_path / "latest")
    assert source.uri == f"file://{tmp_path.resolve()}/a%20b%25"
    assert source.file == str(tmp_path.resolve() / "a b%")
    assert SourceURI.parse(source.uri) == source
    assert SourceURI.parse("./latest") == source


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("https://user:hunter2@host/x", "credentials"),
        ("https://token@host/x", "credentials"),
        ("art://x", "scheme"),
        ("raw-text", "scheme"),
        ("hf://", "charset"),
        ("hf://datasets", "name"),
        ("hf://org/x@", "name"),
        ("https:///path", "name"),
        ("https://h:99999999/", "scheme"),
        ("s3://b/a key", "charset"),
    ],
)
def test_bad_address_is_refused(text: str, category: str) -> None:
    with pytest.raises(URIError) as caught:
        SourceURI.parse(text)
    assert caught.value.category == category
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for scheme in ("hf", "s3", "https", "file", "git+https"):
        try:
            source = SourceURI.parse(f"{scheme}://{text}")
        except URIError:
            continue
        assert SourceURI.parse(source.uri).uri == source.uri
