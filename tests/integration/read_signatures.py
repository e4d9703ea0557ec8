"""Write the table of the signatures that the patches rely on, from a clone of a framework.

    python tests/integration/read_signatures.py megatron_bridge CLONE v0.3.1 v0.6.0 main
    python tests/integration/read_signatures.py nemo_rl CLONE v0.7.0 main

Prints JSON: release -> target -> parameters, null where there is no such function.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys

TARGETS = {
    "megatron_bridge": (
        "src",
        {
            "megatron.bridge.training.utils.wandb_utils": (
                "on_save_checkpoint_success", "on_load_checkpoint_success",
            ),
            "megatron.bridge.training.checkpointing": (
                "_load_checkpoint_from_path", "cleanup_old_non_persistent_checkpoint",
            ),
            "megatron.bridge.training.callbacks": ("normalize_callbacks",),
        },
    ),
    "nemo_rl": (
        ".",
        {
            "nemo_rl.utils.checkpoint": (
                "CheckpointManager._rename_checkpoint", "CheckpointManager.finalize_checkpoint",
                "CheckpointManager.begin_finalization", "CheckpointManager.finalize_pending",
                "CheckpointManager.shutdown", "CheckpointManager.remove_old_checkpoints",
                "CheckpointManager.load_training_info", "CheckpointManager.init_tmp_checkpoint",
            ),
        },
    ),
}  # fmt: skip


def main(framework: str, clone: str, releases: list[str]) -> None:
    """Print the table."""
    root, modules = TARGETS[framework]
    table: dict[str, dict[str, list[str] | None]] = {}
    for release in releases:
        found: dict[str, list[str] | None] = {}
        for module, names in modules.items():
            body = _body(clone, release, f"{root}/{module.replace('.', '/')}.py".removeprefix("./"))
            for name in names:
                found[f"{module}:{name}"] = _parameters(body, name)
        table[release] = found
    print(json.dumps(table, indent=1))  # noqa: T201 - its answer


def _body(clone: str, release: str, path: str) -> list[ast.stmt]:
    shown = subprocess.run(
        ["git", "-C", clone, "show", f"{release}:{path}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ast.parse(shown.stdout).body if shown.returncode == 0 else []


def _parameters(body: list[ast.stmt], name: str) -> list[str] | None:
    node: ast.AST | None = None
    for part in name.split("."):
        node = next((each for each in body if getattr(each, "name", None) == part), None)
        body = getattr(node, "body", [])
    if not isinstance(node, ast.FunctionDef):
        return None
    given = node.args
    return [each.arg for each in (*given.args, *given.kwonlyargs)]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
