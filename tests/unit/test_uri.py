"""The grammar of art:// references, case by case, and as a value."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from nemotron.lineage import ArtifactURI, URIError

SUITE = json.loads((Path(__file__).parents[1] / "data" / "uri-suite.json").read_text())


def _name(case: dict[str, Any]) -> str:
    return ascii(case["input"])[:60]


@pytest.mark.parametrize("case", [c for c in SUITE["cases"] if c["ok"]], ids=_name)
def test_suite_parses(case: dict[str, Any]) -> None:
    uri = ArtifactURI.parse(case["input"])
    found = {
        "name": uri.name,
        "variant": dict(uri.variant) or None,
        "selector": uri.selector,
        "version": uri.version,
        "alias": uri.alias,
        "digest": uri.digest,
        "path": uri.path,
        "canonical": str(uri),
    }
    assert found == {key: case[key] for key in found}
    assert ArtifactURI.parse(str(uri)) == uri
    assert str(ArtifactURI.parse(str(uri))) == str(uri)


@pytest.mark.parametrize("case", [c for c in SUITE["cases"] if not c["ok"]], ids=_name)
def test_suite_refuses(case: dict[str, Any]) -> None:
    with pytest.raises(URIError) as caught:
        ArtifactURI.parse(case["input"])
    assert caught.value.category == case["error"]
    assert caught.value.text == case["input"]
    assert 0 <= caught.value.position <= len(case["input"])


@pytest.mark.parametrize("case", [c for c in SUITE["cases"] if "detect" in c], ids=_name)
def test_suite_detects_in_free_text(case: dict[str, Any]) -> None:
    assert ArtifactURI.detect(case["input"]) is case["detect"]


@pytest.mark.parametrize(("left", "right"), SUITE["same"])
def test_suite_same(left: str, right: str) -> None:
    assert ArtifactURI.parse(left) == ArtifactURI.parse(right)
    assert hash(ArtifactURI.parse(left)) == hash(ArtifactURI.parse(right))


@pytest.mark.parametrize(("left", "right"), SUITE["distinct"])
def test_suite_distinct(left: str, right: str) -> None:
    assert ArtifactURI.parse(left) != ArtifactURI.parse(right)


@pytest.mark.parametrize(
    ("text", "position", "part"),
    [
        ("art://a b", 7, "charset"),
        ("art://a/.b", 8, "name"),
        ("art://a?B=1", 8, "variant"),
        ("art://a:b c", 9, "charset"),
        ("art://a:b$", 9, "selector"),
        ("art://a@md5:00", 8, "digest"),
        ("art://a#b/../c", 10, "path"),
    ],
)
def test_error_points_at_the_character(text: str, position: int, part: str) -> None:
    with pytest.raises(URIError, match=f"character {position}") as caught:
        ArtifactURI.parse(text)
    assert (caught.value.position, caught.value.category) == (position, part)


def test_error_survives_pickling() -> None:
    with pytest.raises(URIError) as caught:
        ArtifactURI.parse("art://a b")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.position) == (str(caught.value), 7)


def test_fields_that_no_text_gives_are_refused() -> None:
    for fields in (
        {"name": "../x"},
        {"name": "a", "version": 1, "alias": "b"},
        {"name": "a", "pairs": (("b", "1"), ("a", "2"))},
        {"name": "a:v1"},
        {"name": "a", "alias": "v7"},
    ):
        with pytest.raises(URIError):
            ArtifactURI(**fields)  # type: ignore[arg-type]  # that is the point


def test_pinning_keeps_the_rest() -> None:
    uri = ArtifactURI.parse("art://data?sample=100:best#train")
    assert str(uri.pin(3)) == "art://data?sample=100:v3#train"
    assert uri.pin(3).is_pinned
    assert not uri.is_pinned


def test_pydantic_model_holds_it() -> None:
    class Config(BaseModel):
        data: ArtifactURI

    config = Config.model_validate({"data": "data:7"})
    assert config.data == ArtifactURI.parse("art://data:v7")
    assert config.model_dump_json() == '{"data":"art://data:v7"}'
    assert Config.model_json_schema()["properties"]["data"]["format"] == "uri"
    with pytest.raises(ValueError, match="not a valid reference"):
        Config.model_validate({"data": "art://"})
    for value in (3, None, b"data:7", ["data:7"]):
        with pytest.raises(ValidationError, match="a reference is text such as"):
            Config.model_validate({"data": value})
    assert TypeAdapter(ArtifactURI | int).validate_python(3) == 3


_SEGMENT = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)
_VALUE = st.from_regex(r"[A-Za-z0-9._-]{1,8}", fullmatch=True)
_KEY = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
_PATH = st.from_regex(r"[A-Za-z0-9_+=,@~-][A-Za-z0-9._+=,@~-]{0,10}", fullmatch=True)
_DIGEST = st.builds(
    "{}:{}".format,
    st.sampled_from(["blake3", "sha256"]),
    st.from_regex(r"[0-9a-f]{8,64}", fullmatch=True),
)


@st.composite
def references(draw: st.DrawFn) -> ArtifactURI:
    """Draw a reference with any of its parts."""
    name = "/".join(draw(st.lists(_SEGMENT, min_size=1, max_size=4)))
    pairs = tuple(sorted(draw(st.dictionaries(_KEY, _VALUE, max_size=3)).items()))
    version = draw(st.none() | st.integers(min_value=0, max_value=2**63 - 1))
    alias = None
    if version is None:
        alias = draw(st.none() | _SEGMENT.filter(_is_alias))
    path = draw(st.none() | st.lists(_PATH, min_size=1, max_size=3).map("/".join))
    return ArtifactURI(name, pairs, version, alias, draw(st.none() | _DIGEST), path)


def _is_alias(text: str) -> bool:
    return text != "latest" and not text.removeprefix("v").isdigit()


@given(references())
def test_every_reference_is_read_back(uri: ArtifactURI) -> None:
    assert ArtifactURI.parse(str(uri)) == uri
    assert ArtifactURI.parse(str(uri).removeprefix("art://")) == uri
    assert len({uri, ArtifactURI.parse(str(uri))}) == 1


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        uri = ArtifactURI.parse(text)
    except URIError as error:
        refused = error
    else:
        assert ArtifactURI.parse(str(uri)) == uri
        return
    assert refused.category in SUITE["error_categories"]
    assert 0 <= refused.position <= len(text)
