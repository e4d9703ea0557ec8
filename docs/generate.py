"""Writes the reference pages that follow from the code; with --check says whether they are true."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools" / "ns"))

import nemotron.kit as kit  # noqa: E402 - from this folder
import nemotron.lineage as lineage  # noqa: E402 - from this folder
from nemotron.kit.config.runconfig import KEYS  # noqa: E402
from nemotron.kit.config.schema import EXECUTORS, KINDS, SECTIONS  # noqa: E402
from nemotron.kit.config.variables import SECRET_FORMS  # noqa: E402
from nemotron.kit.executors.classes import CLASSES, INSTALL  # noqa: E402
from nemotron.kit.executors.environment import SECTION  # noqa: E402
from nemotron.kit.executors.forms import CARRIAGES  # noqa: E402
from nemotron.kit.training import all_patches  # noqa: E402
from nemotron.lineage import errors, events  # noqa: E402
from nemotron.lineage.cli.commands import all_commands, build_parser  # noqa: E402
from nemotron.lineage.cli.exits import STATUSES  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from nemotron.kit.config.schema import Key

REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- written by docs/generate.py from the code -->\n"


def commands() -> str:
    """Return the page of the command line."""
    os.environ["COLUMNS"] = "100"
    parser = build_parser(all_commands())
    (shelf,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    parts = [
        "# The command `lineage`\n", NOTE,
        "Every reading command takes `--json`. The store is named by `--store`, else by",
        "[the settings](configuration.md); reading commands never make one.\n",
        "| exit status | means |", "|---|---|",
        *(f"| {number} | {text} |" for number, text in STATUSES.items()),
    ]  # fmt: skip
    for name, sub in shelf.choices.items():
        parts += [f"\n## lineage {name}\n", "```text", sub.format_help().rstrip(), "```"]
        nested = [a for a in sub._actions if isinstance(a, argparse._SubParsersAction)]  # noqa: SLF001
        for action in nested:
            for kind, deeper in action.choices.items():
                parts += [f"\n### lineage {name} {kind}\n", "```text"]
                parts += [deeper.format_help().rstrip(), "```"]
    return "\n".join(parts) + "\n"


def exceptions() -> str:
    """Return the page of the errors."""
    tree = inspect.cleandoc(errors.__doc__ or "").partition("::\n\n")[2]
    drawn, _, rest = tree.partition("\n\nA message")
    parts = ["# Errors\n", NOTE, "```text", inspect.cleandoc(drawn), "```\n", f"A message{rest}\n"]
    for name in errors.__all__:
        kind = getattr(errors, name)
        bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
        parts += [f"## {name}\n", f"Is a {bases}.\n", _prose(kind), ""]
    return "\n".join(parts).rstrip() + "\n"


def event_kinds() -> str:
    """Return the page of the events."""
    parts = [
        "# Events\n", NOTE,
        (inspect.getdoc(events) or "").replace("``", "`"), "",
        "Every event also carries its id (`<writer>-<sequence>`), when it occurred by the writer's",
        "clock, and when the journal recorded it (on the commit).\n",
        "| kind | critical | fields | meaning |", "|---|---|---|---|",
    ]  # fmt: skip
    for kind, cls in events.KINDS.items():
        names = ", ".join(f"`{spec.name}`" for spec in fields(cls))
        first = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")
        vital = "yes" if cls.critical else ""
        parts.append(f"| `{kind}` | {vital} | {names} | {first} |")
    return "\n".join(parts) + "\n"


def patches() -> str:
    """Return the page of the patches."""
    parts = [
        "# Patches of frameworks\n", NOTE,
        "What [`kit.track()`](../how-to/log-every-checkpoint.md) and the documented functions",
        "observe. Each function of the framework runs once, as it was called; an observer's fault",
        "is logged and goes no further. `lineage doctor` says what fits the installed releases.\n",
    ]  # fmt: skip
    for patch in all_patches():
        parts += [
            f"## {patch.name}\n",
            f"{patch.why[0].upper()}{patch.why[1:]}.\n",
            "| | |", "|---|---|",
            f"| observes | `{patch.target}` |",
            *(f"| or, where there is none | `{each}` |" for each in patch.otherwise),
            f"| of | {patch.distribution} `{patch.versions}` |",
            f"| relies on | `({', '.join(patch.parameters)}, ...)` |",
            f"| upstream | <{patch.upstream}> |",
            f"| goes away when | {patch.remove_when} |",
            "",
        ]  # fmt: skip
    return "\n".join(parts).rstrip() + "\n"


def lineage_names() -> str:
    """Return the page of the Python names of the lineage package."""
    head = ["# Python\n", NOTE, "What `import nemotron.lineage` hands out. For training code there"]
    head += ["is also [the kit](kit.md).\n"]
    foot = "The errors have [a page of their own](errors.md)."
    return "\n".join([*head, *_names(lineage, lineage.__all__[1:]), foot]) + "\n"


def kit_names() -> str:
    """Return the page of the Python names of the kit."""
    head = ["# Python: the kit\n", NOTE, "What `import nemotron.kit` hands out.\n"]
    return "\n".join([*head, *_names(kit, kit.__all__)]).rstrip() + "\n"


def env_toml() -> str:
    """Return the page of env.toml."""
    parts = [
        "# env.toml\n", NOTE,
        "Where work runs and where lineage goes; never what a run does. How to use it is told in",
        "[describe where runs go](../how-to/describe-where-runs-go.md). A mistake is answered by a",
        "`SettingsError`: file, table and key, the fact, and what to do.\n",
        "It is searched in the working folder and above it, up to and including the first folder",
        "that holds a pyproject.toml. `NEMOTRON_ENV_FILE` names another one, and a path that is",
        "given in a call or by `--file` wins over both.\n",
    ]  # fmt: skip
    for name, keys in SECTIONS.items():
        parts += [f"## [{name}]\n", *_key_table(keys.items()), ""]
    parts += [
        "Of `[artifacts]` two spellings are in use: `backend` or `backends` with `root`, and",
        "`wandb` with `manifest`. Both are read, but not mixed. Unknown keys are ignored, with a",
        "warning, in all sections but this one.\n",
        "## Profiles\n",
        "Every other table is a profile. `extends` names a profile or a list of them: they are",
        "laid over each other from left to right, nested tables key by key, everything else",
        "replaced, and the profile itself comes last. Then come the overrides of the command",
        "line, and what nobody said has the default. A text with `${` is kept as it stands, for",
        "OmegaConf.\n",
        "A key marked * cannot be left out.\n",
        "### All executors\n",
        *_key_table((name, key) for name, key in KEYS.items() if not key.executors), "",
    ]  # fmt: skip
    for executor in EXECUTORS:
        owned = [(name, key) for name, key in KEYS.items() if executor in key.executors]
        owned.sort(key=lambda pair: executor not in pair[1].needs)
        common = [name for name, key in KEYS.items() if executor in key.needs and not key.executors]
        if owned or common:
            parts.append(f"### {executor}\n")
        if common:
            parts.append(f"Needs {', '.join(f'`{name}`' for name in common)}.\n")
        if owned:
            parts += [*_key_table(owned, executor), ""]
    parts += [
        "## How secrets reach a job\n",
        '`secrets` is one of these words, or a table of variables: `WANDB_API_KEY = "netrc"`.\n',
        "| form | means |", "|---|---|",
        *(f"| `{form}` | {text} |" for form, text in SECRET_FORMS.items()), "",
        "The last two stand in the table alone, and `file` outside of it alone. Which of them an",
        "executor has, and where a secret rests then, is told in [executors](executors.md). A",
        "secret that stands in the file itself is remarked; where group or others can read the",
        "file, the profile is refused until `chmod 600`.",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def executors() -> str:
    """Return the page of the executors."""
    names = {key: ", ".join(f"`{name}`" for name in SECTION[key]) for key in SECTION}
    parts = [
        "# Executors\n", NOTE,
        "What `build_executor` and `lineage run` make of a profile: an executor of nemo-run",
        "0.11.1, by the signature of the class that is installed. How to use it is told in",
        "[launch a run](../how-to/launch-a-run.md), the keys in [env.toml](env-toml.md).\n",
        "```text", INSTALL, "```\n",
        "## What each carries, and where a secret rests\n",
        "Without a word in `secrets`. What is required is checked before nemo-run is imported.\n",
        "| executor | class | required | variables in | values are | secrets rest in | readers |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for executor, carriage in CARRIAGES.items():
        kind = executor.partition(",")[0]
        needed = ", ".join(f"`{name}`" for name, key in KEYS.items() if kind in key.needs)
        rest = carriage.rests[carriage.default]
        made = f"`{CLASSES[kind]}`" if kind == executor else ""
        parts.append(
            f"| {executor} | {made} | {needed} | {carriage.variables} | {carriage.quoting} "
            f"| `{carriage.default}`: {rest.place} | {rest.readers} |"
        )
    parts += [
        '\nA Slurm behind `tunnel = "ssh"` also needs `host`, `user` and `remote_job_dir`.\n',
        "## The other forms\n",
        "| executor | `secrets` | secrets rest in | readers |", "|---|---|---|---|",
    ]  # fmt: skip
    for executor, carriage in CARRIAGES.items():
        for form, rest in carriage.rests.items():
            if form != carriage.default:
                parts.append(f"| {executor} | `{form}` | {rest.place} | {rest.readers} |")
    parts += [
        "\nWhere others than you and the administrators of the machine can read a key, the",
        "launcher says so in one line. A variable is a secret when its name says so (`..._TOKEN`,",
        "`..._KEY`, `..._SECRET`, `...PASSWORD`, `..._AUTH`), when its value looks like one (a key",
        "of a known form, an address with a login in it), or when `secrets` names it: a variable",
        "that `lineage env` masks travels as a secret.\n",
        "## What the job sees\n",
        "The variables of the profile, and those of the caller over them. An explicit value always",
        "wins; the others are filled in where they are absent.\n",
        "| variable | from | from a launcher alone |", "|---|---|---|",
        "| `HF_TOKEN` | the login of Hugging Face | |",
        "| `WANDB_API_KEY` | the login of W&B for its server, without an identity token file | |",
        "| `WANDB_IDENTITY_TOKEN_FILE` | the environment, in place of a key | |",
        *(f"| {shown} | `[wandb] {key}`"
          f"{' after `WANDB_BASE_URL`; then the settings files' if key == 'base_url' else ''} | |"
          for key, shown in names.items()),
        "| `LINEAGE_STORE` | the store, where the job can reach it | |",
        "| `LINEAGE_PARENT_RUN` | the run that is open here | the launch itself |",
        "| `LINEAGE_JOB`, `NEMO_EXPERIMENT_ID` | | the id of the launch |",
        "| `LINEAGE_PINS` | | the path of a file with the pinned inputs, where there are any |",
        '| `NETRC`, `HF_TOKEN_PATH` | the files of the logins, with `secrets = "netrc"` | |',
        "\nEvery value arrives as it is, to the byte, or is refused. On Slurm, `container_env`",
        "names them all, so that what an image was built with does not win.\n",
        "## What is closed and what is checked\n",
        "* nemo-run writes an executor with all its variables into several files. Its home",
        "  (`NEMORUN_HOME`, `~/.nemo_run`) and `experiments` in it are made 0700, and the launcher",
        "  works with umask 077.",
        "* What nemo-run would put into a command without quotes (`job_name`, `host`, `user`,",
        "  `identity`, `remote_job_dir`, folders, patterns) is refused unless a shell reads it as",
        "  one plain word.",
        "* env.toml is taken out of every archive of code, and so is the file that `--file` or",
        "  `NEMOTRON_ENV_FILE` names.",
        "* rsync over ssh accepts a host that is new and checks those that are known.",
        "* On Slurm without a container nemo-run puts the folder of the job in place of",
        "  `/nemo_run` in words of a command that begin with it; values of variables stay as",
        "  they are.",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _key_table(keys: Iterable[tuple[str, Key]], executor: str = "") -> list[str]:
    rows = ["| key | type | meaning |", "|---|---|---|"]
    for name, key in keys:
        first = f"`{name}`*" if executor in key.needs else f"`{name}`"
        names = ", ".join([first, *(f"`{other}`" for other in key.other_names)])
        kinds = " or ".join(KINDS[kind].words for kind in key.kinds_for(executor))
        kind = ", ".join(f"`{word}`" for word in key.choices) or kinds
        default = "" if key.default is None else f" (default `{str(key.default).lower()}`)"
        rows.append(f"| {names} | {kind} | {key.help}{default} |")
    return rows


def _names(package: ModuleType, names: list[str]) -> list[str]:
    parts = []
    for name in names:
        value = getattr(package, name)
        if isinstance(value, type) and issubclass(value, Exception):
            continue
        parts.append(f"## {name}\n")
        if inspect.isfunction(value):
            parts += ["```text", f"{name}{inspect.signature(value)}", "```\n"]
        parts += [_prose(value) if callable(value) else "Stands for anything.", ""]
        if isinstance(value, type):
            for method in _methods(value):
                function = getattr(value, method)
                signature = (
                    str(inspect.signature(function)).replace("self, ", "").replace("self", "")
                )
                parts += [f"### {name}.{method}\n", "```text", f"{method}{signature}", "```\n"]
                parts += [_prose(function), ""]
    return parts


def _methods(kind: type) -> list[str]:
    return [
        name
        for owner in reversed(kind.__mro__)
        if owner.__module__.startswith("nemotron.")
        for name, value in vars(owner).items()
        if not name.startswith(("_", "model_"))  # pydantic's own
        and callable(value)
        and inspect.isroutine(value)
    ]


def _prose(value: object) -> str:
    """Turn a docstring into Markdown: sections become code blocks, names become code."""
    text = inspect.getdoc(value) or ""
    if ":\n    " in text or ">>>" in text:
        head, _, rest = text.partition("\n\n")
        body = f"\n\n```text\n{rest}\n```" if rest else ""
        return head.replace("``", "`") + body
    return text.replace("``", "`")


PAGES = {
    "cli.md": commands,
    "errors.md": exceptions,
    "env-toml.md": env_toml,
    "patches.md": patches,
    "events.md": event_kinds,
    "executors.md": executors,
    "python.md": lineage_names,
    "kit.md": kit_names,
}


def main() -> int:
    """Write the pages, or check them."""
    check = "--check" in sys.argv[1:]
    stale = []
    for name, write in PAGES.items():
        path, text = REFERENCE / name, write()
        if check and (not path.exists() or path.read_text() != text):
            stale.append(str(path.relative_to(ROOT)))
        elif not check:
            path.write_text(text)
    if stale:
        print(f"{', '.join(stale)}: not what the code says. Run: python docs/generate.py")  # noqa: T201
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
