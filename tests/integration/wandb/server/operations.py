"""What an operation of GraphQL is answered from; one function each: variables in, ``data`` out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .world import Artifact, Run, World

__all__ = ["OPERATIONS", "Call", "Data", "also", "operation"]

Data = dict[str, Any]


@dataclass
class Call:
    """One question: the state to answer from, what was said, and where files go."""

    world: World
    said: Data
    query: str
    place: Callable[[str], str]

    @property
    def input(self) -> Data:
        """The variables of a mutation, whether they came in one piece or flat."""
        inner = self.said.get("input")
        return inner if isinstance(inner, dict) else self.said

    def artifact(self, key: str = "artifactID") -> Artifact:
        said = self.input
        found = self.world.artifacts.get(said.get(key) or said.get("id") or "")
        if found is None:
            raise ValueError(f"artifact {said.get(key)} not found")
        return found

    @property
    def project(self) -> tuple[str, str]:
        said = self.said
        entity = said.get("entity") or said.get("entityName") or self.world.default_entity
        return entity, said.get("project") or said.get("projectName") or ""

    def run(self, name: str) -> Run | None:
        return self.world.runs.get((*self.project, name))


Operation = Callable[[Call], Data]
OPERATIONS: dict[str, Operation] = {}


def operation(do: Operation) -> Operation:
    """Answer the operation that is called like the function, in CamelCase."""
    OPERATIONS["".join(part.capitalize() for part in do.__name__.split("_"))] = do
    return do


def also(*names: str) -> Callable[[Operation], Operation]:
    """Answer operations that other releases call otherwise."""

    def add(do: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(names, do))
        return do

    return add
