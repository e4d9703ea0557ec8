"""What a key of env.toml is, the types that there are, and the sections that are no profiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DGXCLOUD",
    "DOCKER",
    "EXECUTORS",
    "KINDS",
    "KUBEFLOW",
    "KUBERAY",
    "LEPTON",
    "LOCAL",
    "SECTIONS",
    "SKYPILOT",
    "SLURM",
    "Key",
    "Kind",
    "Table",
]

Table = dict[str, Any]

LOCAL, DOCKER, SLURM, SKYPILOT = "local", "docker", "slurm", "skypilot"
DGXCLOUD, LEPTON, KUBEFLOW, KUBERAY = "dgxcloud", "lepton", "kubeflow", "kuberay"
EXECUTORS = (LOCAL, DOCKER, SLURM, SKYPILOT, DGXCLOUD, LEPTON, KUBEFLOW, KUBERAY)


class Kind(NamedTuple):
    """A type of values."""

    words: str
    example: str
    holds: Callable[[Any], bool]


def _list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


# by annotation; bool is an int to Python, and not to us
KINDS = {
    "str": Kind("a text", '"..."', lambda value: isinstance(value, str)),
    "int": Kind("a whole number", "4", lambda value: type(value) is int),
    "float": Kind("a number", "4", lambda value: type(value) in (int, float)),
    "bool": Kind("true or false", "true", lambda value: isinstance(value, bool)),
    "list[str]": Kind("a list of texts", '["..."]', lambda value: _list_of(str, value)),
    "list[Table]": Kind(
        "a list of tables", '[{ key = "..." }]', lambda value: _list_of(dict, value)
    ),
    "Table": Kind("a table", '{ key = "..." }', lambda value: isinstance(value, dict)),
    "dict[str, str]": Kind(
        "a table of texts", '{ key = "..." }',
        lambda value: isinstance(value, dict) and _list_of(str, list(value.values())),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Attributes:
        help: what it means.
        executors: which ones it is for; empty means all.
        needs: executors that cannot do without it.
        other_names: accepted in its place.
        choices: the words that it may be; empty means any.
        kinds: its types, where they depend on the executor; ``""`` stands for the others.
        kind: its type otherwise, as in ``KINDS``, with ``|`` between several.
        default: what it is where nobody says it.
    """

    help: str
    executors: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    kinds: tuple[tuple[str, str], ...] = ()
    kind: str = "str"
    default: str | bool | None = None

    def serves(self, executor: str) -> bool:
        """Tell whether it is a key of this executor."""
        return not self.executors or executor in self.executors

    def kinds_for(self, executor: str) -> list[str]:
        """Return its types for this executor."""
        kinds = dict(self.kinds)
        return (kinds.get(executor) or kinds.get("", self.kind)).split(" | ")


SECTIONS: dict[str, dict[str, Key]] = {
    "wandb": {
        "project": Key("W&B project; without it, or blank, tracking is off"),
        "entity": Key("team or user"),
        "run_name": Key("name of the run", other_names=("name",)),
        "tags": Key("tags of the run", kind="list[str]"),
        "notes": Key("what the run is about"),
        "group": Key("group of the run"),
        "job_type": Key("kind of the run, e.g. training"),
        "mode": Key("how W&B works", choices=("online", "offline", "disabled")),
        "base_url": Key("address of the W&B server"),
    },
    "artifacts": {
        "store": Key("the lineage store, an address or a path"),
        "backend": Key("where artifacts also go", choices=("file", "wandb")),
        "backends": Key("the same, several of them", kind="list[str]"),
        "root": Key("folder of the backend `file`"),
        "wandb": Key("whether artifacts go to W&B", kind="bool"),
        "manifest": Key("`root`: path or address of the manifest layout", kind="Table"),
    },
    "cache": {"git_dir": Key("folder of cloned git repositories")},
    "cli": {"theme": Key("colours of the console")},
}
