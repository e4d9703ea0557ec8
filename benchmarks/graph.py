"""What do questions cost in a graph of a million versions?

    python benchmarks/graph.py [versions]

Generates a store by a batch writer (real commits, hash-chained, 5,000 records each): projects of
raw data -> 3 prepared -> blend -> 26 checkpoints -> 10 of SFT -> 10 of RL, some blends with data
that an earlier project's model wrote, and one popular source that 43 of 100 projects use. Then
asks, and has networkx and rustworkx (where installed) answer the same from memory.
"""

from __future__ import annotations

import importlib.util
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import networkx as nx
from common import folder

import nemotron.lineage as lineage
from nemotron.lineage import Input, Lineage, Location, SourceURI, VersionId
from nemotron.lineage.commits import Commit, Entry, Mark
from nemotron.lineage.events import Event, Published, RunEnded, RunStarted, Used
from nemotron.lineage.journal.sqlite import SQLiteJournal

POPULAR = "hf://org/common-crawl"
BATCH = 5000
Answer = TypeVar("Answer")
WHEN = "2026-01-01T00:00:00.000000Z"


def main(versions: int) -> None:
    """Generate, ask, compare."""
    with folder() as place:
        _generate(place / "lineage.db", versions)
        with lineage.open(place / "lineage.db") as store:
            size = os.path.getsize(place / "lineage.db")
            graph, seconds = _timed(store.lineage)
            print(f"{versions:,} versions: journal {size / 1e6:.0f} MB, indexed in {seconds:.0f} s")
            last = versions // 51
            models = [f"art://rl-{n}:v11" for n in range(max(0, last - 50), last)]
            model = max(models, key=lambda uri: len(graph.ancestors(uri)))  # the deepest
            ours = {
                "ancestors of a model": lambda: store.lineage(model).ancestors(),
                "descendants of a source": lambda: store.lineage(POPULAR).descendants(),
                "a path to the source": lambda: next(graph.paths(POPULAR, model), ()),
            }
            found = {}
            for question, ask in ours.items():
                ask()
                answers = [_timed(ask) for _ in range(5)]
                found[question] = answers[0][0]
                best = sorted(seconds for _, seconds in answers)[2]
                print(f"{question:26} {len(found[question]):9,} nodes {best * 1e3:10.2f} ms")
            _networkx(store, model, found)
            if importlib.util.find_spec("rustworkx"):
                _rustworkx(store, model)


def _generate(place: Path, versions: int) -> None:
    journal = SQLiteJournal(place)
    began = time.perf_counter()
    sequence = 0
    for batch in _batches(projects(versions // 51), BATCH):
        entries = []
        for event in batch:
            sequence += 1
            entries.append(Entry(f"generator-{sequence}", WHEN, event))
        with journal.turn() as turn:
            marks = {"generator": Mark(sequence)}
            commit = Commit.make(journal.id, turn.head, entries, writers=marks, recorded=WHEN)
            turn.ledger.take(commit)
            turn.append(commit)
    journal.close()
    print(f"generated in {time.perf_counter() - began:.0f} s")


def _batches(events: Iterator[Event], size: int) -> Iterator[list[Event]]:
    batch: list[Event] = []
    for event in events:
        batch.append(event)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def projects(count: int) -> Iterator[Event]:
    rng = random.Random(7)
    for n in range(count):
        source = POPULAR if rng.random() < 0.43 else f"hf://org/raw-{n}"
        prepared = [VersionId(f"prepared-{n}", at) for at in (1, 2, 3)]
        yield from _run(f"prep-{n}", [SourceURI(source)], prepared, "dataset")
        blend = VersionId(f"blend-{n}", 1)
        inputs: list[VersionId | SourceURI] = [*prepared]
        if n and rng.random() < 0.3:
            inputs.append(VersionId(f"rl-{rng.randrange(max(0, n - 50), n)}", 10))
        yield from _run(f"blend-{n}", inputs, [blend], "dataset")
        checkpoints = [VersionId(f"pretrain-{n}", at) for at in range(1, 27)]
        yield from _run(f"pretrain-{n}", [blend, SourceURI("hf://org/tokenizer")], checkpoints)
        tuned = [VersionId(f"sft-{n}", at) for at in range(1, 11)]
        yield from _run(f"sft-{n}", [checkpoints[-1], SourceURI("hf://org/chats")], tuned)
        final = [VersionId(f"rl-{n}", at) for at in range(1, 12)]
        yield from _run(f"rl-{n}", [tuned[-1], SourceURI("hf://org/rewards")], final)


def _run(
    name: str,
    inputs: list[VersionId | SourceURI],
    outputs: list[VersionId],
    kind: str = "model",
) -> Iterator[Event]:
    yield RunStarted(run=name, name=name.partition("-")[0])
    for target in inputs:
        yield Used(run=name, input=Input(target=target, role="data"))
    for output in outputs:
        yield Published(
            name=output.name, number=output.number, type=kind, run=name,
            location=Location(f"/checkpoints/{output.name}/{output.number}"),
            metadata={"step": output.number, "loss": 2.5},
        )  # fmt: skip
    yield RunEnded(run=name, status="ok")


def _networkx(store: Lineage, model: str, found: dict[str, tuple[object, ...]]) -> None:
    before = _memory()
    graph, seconds = _timed(lambda: store.lineage().to_networkx())
    print(f"\nnetworkx: loaded in {seconds:.1f} s, {_memory() - before:.0f} MB more")
    for question, walk, node in (
        ("ancestors of a model", nx.ancestors, model),
        ("descendants of a source", nx.descendants, POPULAR),
    ):
        nodes, seconds = _timed(lambda: walk(graph, node))  # noqa: B023 - called at once
        print(f"{question:26} {len(nodes):9,} nodes and runs {seconds * 1e3:10.2f} ms")
        kept = {uri for uri in nodes if not uri.startswith("run:")}
        assert kept == {str(node) for node in found[question]}, "the answers differ"


def _rustworkx(store: Lineage, model: str) -> None:
    import rustworkx as rx

    before = _memory()
    began = time.perf_counter()
    graph = rx.PyDiGraph()
    whole = store.lineage()
    at = {node.uri: graph.add_node(node.uri) for node in whole.nodes()}
    graph.add_edges_from_no_data([(at[e.src.uri], at[e.dst.uri]) for e in whole.edges()])
    seconds = time.perf_counter() - began
    print(f"\nrustworkx: loaded in {seconds:.1f} s, {_memory() - before:.0f} MB more")
    for question, walk, node in (
        ("ancestors of a model", rx.ancestors, model),
        ("descendants of a source", rx.descendants, POPULAR),
    ):
        nodes, seconds = _timed(lambda: walk(graph, at[node]))  # noqa: B023 - called at once
        print(f"{question:26} {len(nodes):9,} nodes and runs {seconds * 1e3:10.2f} ms")


def _timed(act: Callable[[], Answer]) -> tuple[Answer, float]:
    began = time.perf_counter()
    return act(), time.perf_counter() - began


def _memory() -> float:
    """Return the largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
