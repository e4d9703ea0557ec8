"""Values that nemo-run writes into a script or a template: they arrive as they are."""

from __future__ import annotations

import re
import shlex

__all__ = ["for_shell", "for_template", "for_two_shells", "is_plain", "shell_word"]

# where a job finds its folder; outside of containers nemo-run rewrites it in all that it writes
FOLDER = "/nemo_run"
# what is special between double quotes, and within ${...}
_BETWEEN = re.compile(r"[\\$`\"}]")
_PLAIN = re.compile(r"[A-Za-z0-9_./@:+,=~%^-]*")
# what string.Template replaces
_TEMPLATE = re.compile(r"\$(?:\$|\{?[A-Za-z_])")


def is_plain(text: str) -> bool:
    """Tell whether a shell reads a text as one word, as it is."""
    return bool(_PLAIN.fullmatch(text))


def for_shell(value: str) -> str:
    r"""Quote a value for ``export NAME=...`` of a script that nemo-run writes.

    The answer holds neither a ``$`` before a letter nor nemo-run's folder, so that it stays as it
    is however many templates it passes.

    >>> print(for_shell("nemotron"), for_shell("a b;c"), for_shell("it costs $HOME"))
    nemotron 'a b;c' $'it costs \044HOME'
    """
    if "$" not in value and FOLDER not in value:
        return shlex.quote(value)
    text = value.replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\044")
    return f"$'{text.replace(FOLDER, f'{chr(92)}057{FOLDER[1:]}')}'"


def for_template(value: str) -> str:
    """Prepare a value that passes string.Template once, as those of local jobs do.

    >>> for_template("$$ and ${app_id}"), for_template("5 $")
    ('$$$$ and $${app_id}', '5 $')
    """
    return value.replace("$", "$$") if _TEMPLATE.search(value) else value


def for_two_shells(word: str) -> str:
    r"""Quote a word for ``"${COMMAND:-...}"``, which another shell reads then.

    >>> print(for_two_shells("train.py"), for_two_shells('say "$HOME"'))
    train.py 'say \"\$HOME\"'
    """
    quoted = shlex.quote(word)
    if "'" in word:  # bash counts them on its way to the closing brace
        quoted = "$'{}'".format(word.replace("\\", "\\\\").replace("'", "\\047"))
    return _BETWEEN.sub(r"\\\g<0>", quoted)


def shell_word(word: str) -> str:
    """Quote a word of a command for a script of the job.

    A word that is a path below nemo-run's folder is left to nemo-run, which knows where it is.
    """
    if word == FOLDER or word.startswith(f"{FOLDER}/"):
        return shlex.quote(word)
    return for_shell(word)
