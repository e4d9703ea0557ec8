"""Whatever a value holds: it passes nemo-run's templates and real shells as it is."""

from __future__ import annotations

import os
import subprocess
from string import Template

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron.kit.executors.quoting import (
    for_shell,
    for_template,
    for_two_shells,
    shell_word,
)

# what nemo-run and torchx replace
MACROS = {"num_nodes_var": "SLURM_NNODES", "app_id": "a", "replica_id": "0", "img_root": "/"}
FOLDER = "/nemo_run"
PIECES = [
    "$", "$$", "${app_id}", "$num_nodes_var", "'", '"', "`", "\\", ";", " ", "\t", "/nemo_run",
    "/nemo_runs", "$(id)", "!", "~", "{a,b}", "*", "é", "✓", "%", "=", "a", "0", "}", "\x07",
]  # fmt: skip
values = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(
    st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), max_size=20
)


def _bash(script: str) -> str:
    done = subprocess.run(
        ["bash"], input=script, capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    return done.stdout


@given(st.lists(values, min_size=1, max_size=10))
@settings(max_examples=60)
def test_export_in_a_batch_script_keeps_its_value(found: list[str]) -> None:
    lines = []
    for at, value in enumerate(found):
        text = for_shell(value)
        # as nemo-run does, once for jobs and not at all for Ray; and outside of containers
        text = Template(text).safe_substitute(MACROS) if at % 2 else text
        lines += [f"export V{at}={text}".replace(FOLDER, "/elsewhere"), f'printf "%s\\0" "$V{at}"']
    assert _bash("\n".join(lines)).split("\0")[:-1] == found


@given(st.lists(values, min_size=1, max_size=10))
@settings(max_examples=40)
def test_word_of_a_ray_command_passes_both_shells(found: list[str]) -> None:
    command = " ".join(["printf", "'%s\\0'", *map(for_two_shells, found)])
    # the last lines of nemo-run's template for Slurm
    script = f'COMMAND="${{COMMAND:-{command}}}"\nbash -c "$COMMAND"'
    assert _bash(script).split("\0")[:-1] == found


@given(values)
@settings(max_examples=300)
def test_value_of_a_local_job_passes_the_template(value: str) -> None:
    assert Template(for_template(value)).safe_substitute(MACROS) == value


@given(values)
@settings(max_examples=100)
def test_word_of_a_command_is_one_word(word: str) -> None:
    if not (word == FOLDER or word.startswith(f"{FOLDER}/")):
        assert _bash(f"printf '%s\\0' {shell_word(word)}".replace(FOLDER, "/x")) == f"{word}\0"


def test_plain_values_stay_readable() -> None:
    for plain in ("nemotron", "my-team", "a/b:c@d,e+f=g%h", "1.5"):
        assert for_shell(plain) == for_template(plain) == for_two_shells(plain) == plain


@pytest.mark.parametrize("word", ["/nemo_run", "/nemo_run/code/x"])
def test_folder_of_nemo_run_is_left_to_it(word: str) -> None:
    assert FOLDER in shell_word(word)
    assert FOLDER not in for_shell(word)
