"""The script of a job: every word quoted, so that no shell on the way reads one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..executors.quoting import shell_word

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["script_of"]

_PINS = """\
lineage_pins="${{0%.sh}}.pins.json"
if ! [ -e "$lineage_pins" ]; then
  lineage_new=$(mktemp "$lineage_pins.XXXXXX") || exit 78
  cat > "$lineage_new" <<'LINEAGE'
{page}
LINEAGE
  mv -f -- "$lineage_new" "$lineage_pins"
fi
export LINEAGE_PINS="$lineage_pins"
"""
# nemo-run tells of a local job only whether it failed
_STATUS = 'printf %s "$lineage_status" > "${0%.sh}.status.${RANK:-0}"\n'
# whatever ends the script: a command before the job, too
_END = """\
lineage_end() {{
  lineage_status=$?
{steps}}}
trap lineage_end EXIT
"""


def script_of(
    text: str,
    *,
    folder: str | None = None,
    startup: Sequence[str] = (),
    pins: str | None = None,
    writes_status: bool = False,
    removes: str | None = None,
    forgets_pins: bool = False,
) -> str:
    """Return the script of a job.

    Args:
        text: the command, as a shell reads it.
        folder: where it runs, unless that is seen to otherwise.
        startup: shell commands before it; one that fails ends the job.
        pins: the page of the job's pins, for a file beside the script.
        writes_status: whether it leaves its exit status beside itself.
        removes: a file that goes with the job.
        forgets_pins: whether it would inherit the pins of the job that it is launched from.
    """
    parts = []
    if writes_status or removes:
        steps = [_STATUS] * writes_status + [f"rm -f -- {removes}\n"] * bool(removes)
        parts.append(_END.format(steps="".join(f"  {step}" for step in steps)))
    if folder is not None:
        parts.append(f"cd -- {shell_word(folder)} || exit 78\n")
    if pins is not None:
        parts.append(_PINS.format(page=pins))
    elif forgets_pins:
        parts.append("unset LINEAGE_PINS\n")
    if startup:
        parts.append("\n".join(["set -e", *startup, "set +e"]) + "\n")
    parts.append(f"{text}\n")
    return "".join(parts)
