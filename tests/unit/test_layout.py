"""Pictures: where boxes stand, what is stacked, what is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron.lineage import Input, Lineage, Location, SourceURI, VersionId
from nemotron.lineage import events as ev
from nemotron.lineage.export.layout import arrange
from nemotron.lineage.export.picture import svg
from nemotron.lineage.journal.memory import MemoryJournal

_EDGES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=30)


@given(_EDGES)
def test_edges_run_to_the_right_and_boxes_do_not_overlap(pairs: list[tuple[int, int]]) -> None:
    edges = [(str(a), str(b)) for a, b in pairs if a < b]
    nodes = sorted({node for edge in edges for node in edge})
    layout = arrange(nodes, edges)
    for src, dst in edges:
        assert layout.place[src][0] < layout.place[dst][0]
        route = layout.routes[src, dst]
        assert [column for column, _ in route] == list(
            range(layout.place[src][0], layout.place[dst][0] + 1)
        )
    places = list(layout.place.values())
    assert len(set(places)) == len(places)
    assert arrange(nodes, edges) == layout


@given(_EDGES)
def test_cycles_do_not_hang_it(pairs: list[tuple[int, int]]) -> None:
    edges = [(str(a), str(b)) for a, b in pairs]
    nodes = sorted({node for edge in edges for node in edge})
    assert set(arrange(nodes, edges).place) == set(nodes)


def test_long_chain_is_one_row() -> None:
    nodes = [str(n) for n in range(50)]
    layout = arrange(nodes, list(pairwise(nodes)))
    assert (layout.columns, layout.rows) == (50, 1)


@pytest.fixture
def store() -> Iterator[Lineage]:
    with Lineage(MemoryJournal()) as store:
        yield store


def test_idle_checkpoints_are_stacked_and_used_ones_are_not(store: Lineage) -> None:
    for step in range(1, 31):
        store.commit(ev.Published(name="m", type="model", run="r", location=Location(f"/{step}")))
    store.commit(ev.Used(run="two", input=Input(target=VersionId("m", 10), role="init")))
    store.commit(ev.Published(name="next", type="model", run="two", location=Location("/n")))
    text = svg(store.lineage())
    assert "29 x model" in text
    named = [n.get("data-uri") for n in ET.fromstring(text).iter() if n.get("data-uri")]
    assert "art://m:v10" in named
    assert "art://m:v11" not in named
    assert len(named) == 5  # the stack, the used one, two runs, the next model


def test_text_is_escaped(store: Lineage) -> None:
    source = SourceURI("https://h/x?a=1&b=<script>")
    store.commit(ev.Used(run="r<b>", input=Input(target=source, role='"><i>')))
    store.commit(ev.RunStarted(run="r<b>", name="<b>bold</b>"))
    store.commit(ev.Published(name="m", type="a&b", run="r<b>", location=Location("/m")))
    text = svg(store.lineage("m"))
    ET.fromstring(text)
    assert "<script>" not in text
    assert "<b>" not in text


def test_empty_store_has_an_empty_picture(store: Lineage) -> None:
    ET.fromstring(svg(store.lineage()))
