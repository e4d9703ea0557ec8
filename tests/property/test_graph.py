"""Lineage answers like networkx on the same random history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron.lineage import (
    ArtifactNotFoundError,
    Input,
    Lineage,
    LineageGraph,
    Location,
    SourceURI,
    VersionId,
)
from nemotron.lineage import events as ev
from nemotron.lineage.journal.memory import MemoryJournal

RUNS = ("run-a", "run-b", "run-c")
TYPES = {"model": "model", "data": "dataset"}
SOURCES = ("hf://org/a", "hf://org/b")


@dataclass
class World:
    """A store, and the graph that its history means, worked out the simple way."""

    store: Lineage
    graph: nx.DiGraph = field(default_factory=nx.DiGraph)  # version-level: input -> version
    commits: dict[str, int] = field(default_factory=dict)
    used: dict[str, list[str]] = field(default_factory=lambda: {run: [] for run in RUNS})
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TYPES, 0))

    def use(self, run: str, target: str) -> None:
        self.store.commit(ev.Used(run=run, input=Input(target=_target(target))))
        self.used[run].append(target)

    def publish(self, run: str, name: str, inputs: list[str] | None) -> None:
        self.counts[name] += 1
        uri = f"art://{name}:v{self.counts[name]}"
        given_ = None if inputs is None else tuple(Input(target=_target(i)) for i in inputs)
        self.store.commit(
            ev.Published(name=name, type=TYPES[name], run=run, inputs=given_,
                         location=Location(f"/{uri}"))
        )  # fmt: skip
        self.graph.add_node(uri)
        self.graph.add_edges_from((i, uri) for i in (self.used[run] if inputs is None else inputs))
        self.commits[uri] = self.store.journal.head().number


def _target(uri: str) -> VersionId | SourceURI:
    return VersionId.read(uri) if uri.startswith("art://") else SourceURI(uri)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw a history of uses and publishes by a few runs."""
    world = World(Lineage(MemoryJournal()))
    for _ in range(draw(st.integers(min_value=3, max_value=25))):
        known = [*SOURCES, *world.commits]
        run = draw(st.sampled_from(RUNS))
        if draw(st.booleans()):
            world.use(run, draw(st.sampled_from(known)))
        else:
            inputs = draw(st.none() | st.lists(st.sampled_from(known), max_size=3))
            world.publish(run, draw(st.sampled_from(sorted(TYPES))), inputs)
    return world


def _hops(graph: nx.DiGraph, start: str, hops: int) -> set[str]:
    near = nx.single_source_shortest_path_length(graph, start, cutoff=hops)
    return set(near) - {start}


@settings(max_examples=60)
@given(worlds(), st.integers(min_value=0, max_value=3))
def test_ancestors_and_descendants_are_those_of_networkx(world: World, hops: int) -> None:
    with world.store as store:
        graph = store.lineage()
        for node in world.graph:
            up, down = nx.ancestors(world.graph, node), nx.descendants(world.graph, node)
            assert {n.uri for n in graph.ancestors(node)} == up
            assert {n.uri for n in graph.descendants(node)} == down
            backwards = world.graph.reverse(copy=False)
            assert {n.uri for n in graph.ancestors(node, hops=hops)} == _hops(backwards, node, hops)
            assert {n.uri for n in graph.descendants(node, hops=hops)} == _hops(
                world.graph, node, hops
            )
            models = {n.uri for n in graph.ancestors(node, types=["model"])}
            assert models == {uri for uri in up if uri.startswith("art://model")}


@settings(max_examples=60)
@given(worlds())
def test_exported_graph_has_the_same_ancestors(world: World) -> None:
    with world.store as store:
        exported = store.lineage().to_networkx()
        kinds = nx.get_node_attributes(exported, "kind")
        for node in world.graph:
            if node in exported:
                found = {n for n in nx.ancestors(exported, node) if kinds[n] != "run"}
                assert found == nx.ancestors(world.graph, node)
        assert nx.is_directed_acyclic_graph(exported)


@settings(max_examples=40)
@given(worlds(), st.data())
def test_focused_graph_holds_ancestors_and_descendants(world: World, data: st.DataObject) -> None:
    versions = list(world.commits)
    if not versions:
        return
    focus = data.draw(st.sampled_from(versions))
    with world.store as store:
        graph = store.lineage(focus)
        kept = {n.uri for n in graph.nodes() if n.kind != "run"}
        expected = nx.ancestors(world.graph, focus) | nx.descendants(world.graph, focus) | {focus}
        assert kept == expected
        assert len(graph) == len(graph.nodes())
        for node in (*world.graph, *SOURCES):
            assert (node in graph) == (node in expected)


@settings(max_examples=40)
@given(worlds(), st.data())
def test_paths_are_those_of_networkx_and_shortest_first(world: World, data: st.DataObject) -> None:
    nodes = sorted(world.graph)
    if len(nodes) < 2:
        return
    source, target = data.draw(st.permutations(nodes))[:2]
    with world.store as store:
        graph = store.lineage()
        try:
            found = list(islice(graph.paths(source, target), 500))
        except ArtifactNotFoundError:
            assert source not in world.commits  # a source that nobody used yet
            return
        shown = [[n.uri for n in path if n.kind != "run"] for path in found]
        expected = list(nx.all_simple_paths(world.graph, source, target))
        if len(found) < 500:
            assert {tuple(path) for path in shown} == {tuple(path) for path in expected}
        lengths = [len(path) for path in found]
        assert lengths == sorted(lengths)


@settings(max_examples=40)
@given(worlds(), st.data())
def test_graph_as_of_a_commit_is_the_graph_of_then(world: World, data: st.DataObject) -> None:
    with world.store as store:
        at = data.draw(st.integers(min_value=0, max_value=store.journal.head().number))
        then = [uri for uri, commit in world.commits.items() if commit <= at]
        known = {*then, *SOURCES}
        old = world.graph.subgraph([node for node in world.graph if node in known])
        graph = store.lineage(at=at)
        assert {n.uri for n in graph.nodes() if n.kind == "version"} == set(then)
        for node in then:
            assert {n.uri for n in graph.descendants(node)} == nx.descendants(old, node)
            assert {n.uri for n in graph.ancestors(node)} == nx.ancestors(old, node)


@settings(max_examples=40)
@given(worlds(), st.data())
def test_diff_is_that_of_the_ancestor_sets(world: World, data: st.DataObject) -> None:
    versions = list(world.commits)
    if not versions:
        return
    left, right = data.draw(st.sampled_from(versions)), data.draw(st.sampled_from(versions))
    ours, theirs = nx.ancestors(world.graph, left), nx.ancestors(world.graph, right)
    with world.store as store:
        diff = store.lineage().diff(left, right)
    assert {n.uri for n in diff.only_left} == ours - theirs
    assert {n.uri for n in diff.only_right} == theirs - ours
    assert {n.uri for n in diff.both} == ours & theirs


@settings(max_examples=20)
@given(worlds())
def test_tree_names_every_ancestor(world: World) -> None:
    with world.store as store:
        for node in world.commits:
            text = store.lineage(node).tree()
            assert all(uri in text for uri in nx.ancestors(world.graph, node))


# ------------------------------------------------------------------- what it means


@pytest.fixture
def store() -> Iterator[Lineage]:
    with Lineage(MemoryJournal()) as store:
        yield store


def _publish(store: Lineage, uri: str, run: str = "r", **facts: object) -> None:
    name = uri.partition(":")[0]
    location = Location(f"/{uri}")
    store.commit(ev.Published(name=name, type="model", run=run, location=location, **facts))  # type: ignore[arg-type]


def _use(store: Lineage, target: str, run: str = "r", **facts: object) -> None:
    store.commit(ev.Used(run=run, input=Input(target=_target(target), **facts)))  # type: ignore[arg-type]


def _uris(nodes: object) -> list[str]:
    return [node.uri for node in nodes]  # type: ignore[attr-defined]


def test_siblings_are_not_descendants(store: Lineage) -> None:
    _use(store, "hf://org/a")
    for step in (1, 2, 3):
        _publish(store, f"m:{step}")
    graph = store.lineage("m:v1")
    assert _uris(graph.descendants()) == []
    assert _uris(graph.ancestors()) == ["hf://org/a"]
    assert _uris(store.lineage("hf://org/a").descendants()) == [
        "art://m:v1", "art://m:v2", "art://m:v3",
    ]  # fmt: skip


def test_use_after_a_publish_is_no_ancestor(store: Lineage) -> None:
    _use(store, "hf://org/a")
    _publish(store, "m:1")
    _use(store, "hf://org/b")
    _publish(store, "m:2")
    graph = store.lineage()
    assert _uris(graph.ancestors("m:v1")) == ["hf://org/a"]
    assert _uris(graph.ancestors("m:v2")) == ["hf://org/a", "hf://org/b"]
    assert _uris(graph.descendants("hf://org/b")) == ["art://m:v2"]


def test_deleted_version_passes_lineage_on(store: Lineage) -> None:
    _use(store, "hf://org/a", "one")
    _publish(store, "base:1", "one")
    _use(store, "art://base:v1", "two", role="init")
    _publish(store, "m:1", "two")
    store.retire("base", "gone")
    node = store.lineage("hf://org/a").descendants()[0]
    assert (node.uri, node.state) == ("art://base:v1", "deleted")
    assert "art://m:v1" in _uris(store.lineage("hf://org/a").descendants())


def test_source_stands_for_all_its_revisions(store: Lineage) -> None:
    _use(store, "hf://org/a", "one", revision="main")
    _publish(store, "m:1", "one")
    _use(store, "hf://org/a", "two", revision="v2")
    _publish(store, "m:2", "two")
    assert len(store.lineage("hf://org/a").descendants()) == 2
    assert _uris(store.lineage("hf://org/a@v2").descendants()) == ["art://m:v2"]
    assert _uris(store.lineage("hf://org/a@v2").descendants(hops=1)) == ["art://m:v2"]
    assert list(store.lineage().paths("hf://org/a@v2", "m:v1")) == []


def test_edges_have_roles_and_facts(store: Lineage) -> None:
    _use(store, "hf://org/a", role="init", weight=0.5, tokens=7, split="train")
    _publish(store, "m:1")
    graph = store.lineage("m")
    (edge,) = graph.inputs()
    assert (edge.src.uri, edge.role) == ("hf://org/a", "init")
    assert edge.detail == {"weight": 0.5, "tokens": 7, "split": "train"}
    exported = graph.to_networkx()
    (attributes,) = exported.get_edge_data("hf://org/a", "run:r").values()
    assert attributes == {"role": "init", "weight": 0.5, "tokens": 7, "split": "train"}
    producer = graph.producer()
    assert producer is not None
    assert (producer.uri, producer.kind) == ("run:r", "run")


def test_cycle_of_imported_versions_ends(store: Lineage) -> None:
    for number, other in ((1, 2), (2, 1), (3, 3)):
        store.commit(
            ev.Imported(
                name="m", number=number, type="model", origin={"system": "x", "id": number},
                location=Location(f"/{number}"), inputs=(Input(target=VersionId("m", other)),),
            )
        )  # fmt: skip
    graph = store.lineage("m:v1")
    assert "art://m:v2" in _uris(graph.ancestors())
    assert _uris(graph.ancestors("m:v3")) == ["art://m:v3"]
    assert "see above" in graph.tree()
    assert len(graph.to_networkx()) == 4
    assert [n.uri for n in next(graph.paths("m:v1", "m:v2")) if n.kind == "version"] == [
        "art://m:v1", "art://m:v2",
    ]  # fmt: skip


def test_input_that_is_not_here_is_shown_as_unknown(store: Lineage) -> None:
    store.commit(
        ev.Imported(
            name="m", number=1, type="model", origin={"system": "x"}, location=Location("/1"),
            inputs=(Input(target=VersionId("far", 9)),),
        )
    )  # fmt: skip
    (node,) = store.lineage("m").ancestors()
    assert (node.uri, node.state) == ("art://far:v9", "unknown")
    with pytest.raises(ArtifactNotFoundError):
        store.resolve("far:v9")


def test_lineage_thousands_deep_is_whole(store: Lineage) -> None:
    previous = "hf://org/a"
    for step in range(1, 1501):
        run = f"r{step}"
        _use(store, previous, run)
        _publish(store, f"m:{step}", run)
        previous = f"art://m:v{step}"
    graph = store.lineage("m")
    assert len(graph.ancestors()) == 1500
    assert len(graph.tree().splitlines()) == 1501
    assert len(graph.ancestors(hops=10)) == 10


def test_idle_versions_are_folded_in_the_tree(store: Lineage) -> None:
    _use(store, "hf://org/a")
    for step in range(1, 31):
        _publish(store, f"m:{step}")
    _use(store, "art://m:v30", "two", role="init")
    _publish(store, "next:1", "two")
    text = store.lineage("hf://org/a").tree(down=True)
    assert "art://m:v1 to :v29 (29 of type model, nothing came of them)" in text
    assert len(text.splitlines()) == 4


def test_what_is_not_in_the_store_is_an_error(store: Lineage) -> None:
    for reference in ("m", "m:v1", "hf://org/nobody"):
        with pytest.raises(ArtifactNotFoundError):
            store.lineage(reference)
    with pytest.raises(ArtifactNotFoundError, match="no focus"):
        store.lineage().ancestors()


def test_graph_stays_as_it_was_while_the_store_goes_on(store: Lineage) -> None:
    _use(store, "hf://org/a")
    _publish(store, "m:1")
    graph: LineageGraph = store.lineage("hf://org/a")
    _publish(store, "m:2")
    _use(store, "art://m:v1", "two")
    _publish(store, "next:1", "two")
    assert _uris(graph.descendants()) == ["art://m:v1"]
    assert {n.uri for n in graph.nodes()} == {"hf://org/a", "run:r", "art://m:v1"}
    assert [e.role for e in graph.edges()] == ["produced", "data"]
