"""Whether the address of a server of W&B is one that can be asked."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["address_fault"]


def address_fault(url: str) -> str | None:
    """Say what is wrong with a ``base_url``, as the rest of a sentence; None when nothing is.

    Nothing of it is shown, since it may hold a login.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_address = is_address and (parts.port or 1) > 0 and url.isprintable() and " " not in url
        has_login = "@" in parts.netloc
    except ValueError:
        is_address, has_login = False, "@" in url
    if has_login:
        return "holds a login, which does not belong there; use: wandb login"
    if not is_address:
        return "is no address; write one such as https://wandb.example.com"
    return None
