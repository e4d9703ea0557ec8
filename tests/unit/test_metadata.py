"""What metadata may hold, and what it says when it may not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron.lineage import MetadataError
from nemotron.lineage.metadata import MAX_METADATA, canonical_json, plain, plain_lenient

WEST_AFRICA = timezone(timedelta(hours=1))


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class TorchScalar:
    """As a torch tensor without dimensions: an empty shape and item()."""

    shape = ()

    def item(self) -> float:
        return 2.5


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),  # noqa: FBT003 - numpy's own
        (np.str_("text"), "text"),
        (np.array(3), 3),
        (np.longdouble(1.25), 1.25),
        (TorchScalar(), 2.5),
        (Path("/a/b"), "/a/b"),
        (datetime(2026, 1, 2, 3, tzinfo=WEST_AFRICA), "2026-01-02T02:00:00.000000Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        ((1, [2, {"a": None}]), [1, [2, {"a": None}]]),
        (True, True),
    ],
)  # fmt: skip
def test_value_becomes_plain_json(value: object, expected: object) -> None:
    result = plain({"key": value})["key"]
    assert result == expected
    assert type(result) is type(expected)
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    ("metadata", "key", "says"),
    [
        ({"a": {"b": [1, object()]}}, "a.b[1]", "object, which JSON cannot hold"),
        ({"a": {1: 2}}, "a.1", "keyed by a int"),
        ({"w": np.zeros((2, 3))}, "w", r"array of shape \(2, 3\)"),
        ({"z": 1j}, "z", "complex"),
        ({"s": {1, 2}}, "s", "set"),
        ({"b": b"x"}, "b", "bytes"),
        ({"loss": float("nan")}, "loss", "NaN or infinite"),
        ({"a": [0.0, float("inf")]}, "a[1]", "NaN or infinite"),
        ({"n": np.float32("nan")}, "n", "NaN or infinite"),
        ({"n": np.longdouble("inf")}, "n", "NaN or infinite"),
        ({"n": np.clongdouble(1)}, "n", "clongdouble, which JSON cannot hold"),
    ],
)
def test_value_that_json_cannot_hold_is_named(
    metadata: dict[str, Any], key: str, says: str
) -> None:
    with pytest.raises(MetadataError, match=says) as caught:
        plain(metadata)
    assert caught.value.key == key


def test_no_mapping_is_refused() -> None:
    with pytest.raises(MetadataError, match="is a list; give a mapping"):
        plain([1])  # type: ignore[arg-type]  # that is the point


def test_over_one_mebibyte_is_refused_with_the_largest_key() -> None:
    with pytest.raises(MetadataError, match="over 1 MiB; put it in a file") as caught:
        plain({"small": 1, "table": "x" * MAX_METADATA})
    assert caught.value.key == "table"
    assert plain({"table": "x" * (MAX_METADATA - 100)})


@pytest.mark.parametrize(
    "many",
    [
        {f"shards/of/the/data/{i:08d}.parquet": i for i in range(100_000)},
        [i * 1.000000123 for i in range(100_000)],
        "\U0001f600" * 100_000,
        {"k" * (MAX_METADATA + 1): 1},
        [Path(f"/lustre/data/{i:0150d}.parquet") for i in range(10_000)],
    ],
)
def test_over_one_mebibyte_is_refused_whatever_makes_it_so_large(many: object) -> None:
    with pytest.raises(MetadataError, match="over 1 MiB") as caught:
        plain({"small": 1, "many": many})
    assert caught.value.key == "many"


def test_what_holds_itself_is_refused_by_its_key() -> None:
    ring: dict[str, Any] = {}
    ring["next"] = [ring]
    with pytest.raises(MetadataError, match="nested too deeply, or holds itself") as caught:
        plain({"fine": 1, "ring": ring})
    assert caught.value.key == "ring"


def test_hook_keeps_a_diverged_run() -> None:
    values, keys = plain_lenient({"loss": float("nan"), "deep": {"norm": float("inf")}, "step": 1})
    assert values == {"loss": None, "deep": {"norm": None}, "step": 1}
    assert keys == ("loss", "deep.norm")


def test_config_keeps_foreign_values_as_text() -> None:
    @dataclass
    class Optimizer:
        lr: float = 0.1

    values, _ = plain_lenient({"optimizer": Optimizer(), "fn": len}, other=repr)
    assert values["optimizer"].endswith("Optimizer(lr=0.1)")
    assert values["fn"] == "<built-in function len>"
    assert plain_lenient({"rate": {0: 0.1, 100: 0.2}}, other=repr)[0] == {
        "rate": {"0": 0.1, "100": 0.2}
    }


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(st.text(), _JSON, max_size=4))
def test_json_is_held_as_it_is(metadata: dict[str, Any]) -> None:
    assert plain(metadata) == metadata
    assert json.loads(canonical_json(plain(metadata))) == metadata


def test_canonical_json_is_one_form() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"\\u00e9","b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})
    assert canonical_json(datetime(2026, 1, 1, tzinfo=UTC).isoformat()).startswith('"2026')
