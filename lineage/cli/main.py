"""Entry of the command line: ``resolve`` is answered before any parser is imported."""

import sys


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status (see ``exits.py``)."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["resolve"]:
        from .fast import resolve

        found = resolve(words[1:])
        if found is not None:
            try:
                print(found, flush=True)
            except (OSError, UnicodeEncodeError):
                pass  # nobody reads it, or cannot: the full command knows what to do
            else:
                return 0
    from .commands import run

    return run(words)


if __name__ == "__main__":
    sys.exit(main())
