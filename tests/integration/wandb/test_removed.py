"""What somebody removed from W&B by hand, and what W&B will never have, holds up nothing."""

from __future__ import annotations

import pytest

from .conftest import Shell
from .server import serving
from .test_mirror import KIT


def test_input_that_was_removed_holds_up_no_output(shell: Shell) -> None:
    """Until it is sent anew; then it is an input again."""
    shell.python(f"{KIT}\npublish('tokens', 'out/1', type='dataset'); finish_wandb()")
    world = shell.server.world
    world.forget("e/p/tokens:lineage-v1")
    shell.python(f"{KIT}\nrun.use('tokens:v1'); publish('m', 'out/2'); finish_wandb()")
    (made,) = world.versions("e/p/m")
    assert shell.lineage("sync", "--status") == "wandb: 0 left, 0 refused\n"
    shell.lineage("sync", "--again")
    (tokens,) = world.versions("e/p/tokens")
    assert [run.name for run in world.users(tokens)] == [made.run]
    with shell.open() as store:
        assert "gone" not in store.receipts("tokens:v1")[0].facts


def test_version_that_was_removed_is_said_to_be_gone_until_it_is_sent_anew(shell: Shell) -> None:
    shell.python(f"{KIT}\npublish('m', 'out/1'); finish_wandb()")
    shell.server.world.forget("e/p/m:lineage-v1")
    with shell.open() as store:
        store.retire("m:v1", "old")
    shell.lineage("sync")
    with shell.open() as store:
        assert store.receipts("m:v1")[0].facts["gone"] is True
    shell.lineage("sync", "--again")
    with shell.open() as store:
        assert store.receipts("m:v1")[0].facts["gone"] is False
    (made,) = shell.server.world.versions()
    assert made.tags == ["deleted"]


def test_collection_that_was_removed_and_counts_anew_is_not_taken_for_the_old_one(
    shell: Shell,
) -> None:
    """The name that the receipt of v1 holds means v2 now."""
    shell.python(f"{KIT}\npublish('m', 'out/1'); finish_wandb()")
    world = shell.server.world
    world.forget("e/p/m:lineage-v1")
    world.collections.clear()
    shell.python(f"{KIT}\npublish('m', 'out/2'); finish_wandb()")
    (second,) = world.versions("e/p/m")
    assert second.path == "e/p/m:v0"
    with shell.open() as store:
        store.describe("m:v1", {"score": 1})
    shell.python(f"{KIT}\nrun.use('m:v1'); finish_wandb()")
    shell.lineage("sync")
    assert second.aliases == ["latest", "lineage-v2"]
    assert "score" not in second.metadata
    assert second.metadata["lineage"]["uri"] == "art://m:v2"
    assert not world.users(second)
    shell.lineage("sync", "--again")
    assert [each.metadata["lineage"]["uri"] for each in world.versions("e/p/m")] == [
        "art://m:v2", "art://m:v1",
    ]  # fmt: skip


def test_alias_leaves_a_version_for_one_that_wandb_will_never_have(shell: Shell) -> None:
    shell.python(f"{KIT}\npublish('m', 'out/1', aliases=['best']); finish_wandb()")
    with shell.open() as store, store.run("elsewhere") as run:
        run.publish("m", path="out/9", type="model", external=True, aliases=["best"])
    shell.lineage("sync")
    (made,) = shell.server.world.versions()
    assert made.aliases == ["latest", "lineage-v1"]


def test_server_that_was_given_up_holds_up_no_other(shell: Shell) -> None:
    """Runs know their server; the one that is gone is named with what is left for it."""
    with serving() as before:
        environ = {"WANDB_BASE_URL": before.url, "WANDB_MODE": "offline"}
        shell.python(f"{KIT}\npublish('old', 'out/1'); finish_wandb()", **environ)
    shell.python(f"{KIT}\npublish('new', 'out/2'); finish_wandb()", WANDB_MODE="offline")
    program = """
import sys, nemotron.lineage.cli.sync as sync
sync._PATIENCE = 3
from nemotron.lineage.cli.main import main
sys.exit(main(["sync"]))
"""
    process = shell.start(program)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 11, out + err
    assert [each.path for each in shell.server.world.versions()] == ["e/p/new:v0"]
    assert "wandb: 2 delivered, 2 left" in out


def test_fault_in_an_upload_is_logged_counted_and_holds_up_nothing(shell: Shell) -> None:
    """A release of the SDK that behaves otherwise: it is a dead letter in the end."""
    shell.python(f"{KIT}\npublish('m', 'out/1'); publish('n', 'out/2'); finish_wandb()",
                 WANDB_MODE="offline")  # fmt: skip
    process = shell.start("""
import sys
import nemotron.lineage.mirror.wandb_live as live, nemotron.lineage.mirror.worker as worker
worker._HOPELESS, real = 2, live._build
def drifted(draft):
    if draft.name == "m": raise TypeError("an argument that is not known")
    return real(draft)
live._build = drifted
from nemotron.lineage.cli.main import main
sys.exit(main(["sync"]))
""")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 11, out + err
    assert "refused art://m:v1: an argument that is not known" in out
    assert "delivering art://m:v1 to wandb failed" in err
    assert "Exception in thread" not in err
    assert [each.path for each in shell.server.world.versions()] == ["e/p/n:v0"]
    shell.lineage("sync", "--retry")
    assert len(shell.server.world.versions()) == 2


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BASE_URL", "wandb.example.com", "base_url of W&B is no address; write one such as"),
        ("BASE_URL", "http://127.0.0.1:port", "base_url of W&B is no address"),
        ("BASE_URL", "http://me:hunter2hunter2@127.0.0.1:1", "base_url of W&B holds a login"),
        ("API_KEY", "0123456789", "W&B refuses the login (WANDB_API_KEY invalid: API key must"),
    ],
)
def test_settings_that_do_not_work_are_one_sentence_and_nothing_is_refused(
    shell: Shell, name: str, value: str, said: str
) -> None:
    with shell.open() as store, store.run("train") as run:
        run.publish("m", path="out/1", type="model", external=True)
    environ = {f"WANDB_{name}": value, "LINEAGE_MIRRORS": "wandb"}
    out = shell.lineage("sync", status=11, **environ)
    first, *rest = shell.said.splitlines()
    assert first.startswith("lineage: ")
    assert said in first
    assert not rest
    assert "2 left" in out
    assert "0 refused" in out
    shell.lineage("import", "wandb", "e/p", status=1, **environ)
    assert said in shell.said
    assert len(shell.said.splitlines()) == 1
    assert "hunter2" not in out + shell.said
    shell.lineage("sync", LINEAGE_MIRRORS="wandb")
    assert [each.path for each in shell.server.world.versions()] == ["e/p/m:v0"]
