"""Secrets go, the field's own words stay."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from nemotron.lineage import Redactor
from nemotron.lineage.redact import REDACTED

WANDB_KEY = "0123456789abcdef" * 2 + "01234567"
SECRETS = {
    "wandb key": WANDB_KEY,
    "wandb local key": f"local-{WANDB_KEY}",
    "wandb new key": "wandb_v1_" + "aB3" * 14,
    "hugging face": "hf_" + "AbCdEfGhIj" * 3,
    "aws id": "AKIAIOSFODNN7EXAMPLE",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "github": "ghp_" + "a1B2" * 9,
    "openai": "sk-proj-" + "a1B2" * 8,
    "ngc": "nvapi-" + "a1B2" * 12,
}
FIELD_WORDS: dict[str, Any] = {
    "tokenizer": "meta-llama/Llama-3", "tokenizer_type": "NullTokenizer", "total_tokens": 10**12,
    "max_tokens": 4096, "num_key_value_heads": 8, "eos_token": "<|endoftext|>",
    "bos_token": "<s>", "pad_token": "<pad>", "special_tokens": ["<a>", "<b>"],
    "stop_token": "</s>", "image_token": "<image>", "eos_token_id": 2, "tokens_per_second": 1.5,
    "TOKENIZERS_PARALLELISM": "false", "key_dim": 128, "input_key": "prompt",
    "text_key": "text", "query_key_value": "fused", "hidden_size": 4096, "secret_name": "wandb",
    "commit": "0123456789abcdef0123456789abcdef01234567", "author": "me", "monkey": "banana",
    "revision": "0123456789abcdef0123456789abcdef01234567", "passes": 3, "keys": ["a", "b"],
    "digest": "blake3:" + "ab" * 32, "password_file": "/run/secrets/p", "keyframes": 12,
}  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_secret_is_found_by_its_look(secret: str) -> None:
    redactor = Redactor()
    for text in (f"login failed with {secret}", f"'{secret}'", f"x={secret};", secret):
        assert secret not in redactor.text(text), text


def test_field_words_stay() -> None:
    assert Redactor().value(FIELD_WORDS) == FIELD_WORDS


def test_field_words_stay_on_the_command_line() -> None:
    argv = ["python", "-m", "train", "tokenizer=gpt2", "--num-key-value-heads", "8",
            "model.eos_token=</s>", "--max-tokens", "4096", "+data.text_key=text"]  # fmt: skip
    assert Redactor().argv(argv) == argv


@pytest.mark.parametrize(
    "name",
    [
        "api_key", "apiKey", "WANDB_API_KEY", "wandb.api_key", "hf_token", "token", "password",
        "client_secret", "aws_secret_access_key", "auth", "Authorization", "db-password", "passwd",
        "private_key", "ssh_key", "credential", "PGPASSWORD",
    ],
)  # fmt: skip
def test_secret_is_found_by_its_name(name: str) -> None:
    redactor = Redactor()
    assert redactor.value({name: "short"}) == {name: REDACTED}
    assert "short" not in redactor.text(f"config: {name}=short")
    assert "short" not in " ".join(redactor.argv(["x", f"--{name}", "short"]))
    assert "short" not in " ".join(redactor.argv(["x", f"--{name}=short"]))


def test_weak_name_counts_only_with_a_random_value() -> None:
    redactor = Redactor()
    assert redactor.value({"cache_key": "train-split"}) == {"cache_key": "train-split"}
    assert redactor.value({"some_key": "a8F3kq9ZpL2mX7vB"}) == {"some_key": REDACTED}


def test_url_loses_login_and_signature() -> None:
    text = Redactor().text("get https://me:pw@host/x?X-Amz-Signature=abcdef0123456789&part=1")
    assert text == f"get https://{REDACTED}@host/x?X-Amz-Signature={REDACTED}&part=1"


def test_private_key_goes_as_a_whole() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"
    assert Redactor().text(f"a {key} b") == f"a {REDACTED} b"
    assert "MIIE" not in Redactor().text(key[:50])


def test_secrets_of_the_environment_go_wherever_they_turn_up() -> None:
    redactor = Redactor({"WANDB_API_KEY": "my-odd-secret", "PATH": "/usr/bin", "HF_TOKEN": "x"})
    encoded = base64.b64encode(b"my-odd-secret").decode()
    assert redactor.text("failed: my-odd-secret at /usr/bin") == f"failed: {REDACTED} at /usr/bin"
    assert "my-odd-secret" not in str(redactor.value({"note": ["my-odd-secret"]}))
    assert encoded.rstrip("=") not in redactor.text(f"body={encoded}")


def test_folder_of_the_shell_is_no_secret() -> None:
    redactor = Redactor({"PWD": "/home/me/project", "OLDPWD": "/home/me"})
    assert redactor.text("open /home/me/project/x") == "open /home/me/project/x"
    assert redactor.value({"pwd": "short"}) == {"pwd": REDACTED}


def test_git_commits_stay_in_text() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    redactor = Redactor()
    for text in (f"commit {commit}", f"models/snapshots/{commit}/x", f"repo@{commit}"):
        assert redactor.text(text) == text


def test_numbers_and_nothing_pass() -> None:
    values = {"password": None, "token": "", "secret": False, "loss": 0.5, "n": 3, "list": [1, "a"]}
    assert Redactor().value(values) == values
    assert Redactor().value({"password": 12345678}) == {"password": REDACTED}


def test_names_that_are_no_text_stay_and_what_is_below_them_is_looked_at() -> None:
    """As in a schedule by step, which a configuration may hold."""
    value = {0: 0.1, 100: {"hf_token": "x"}, None: "a", (1, 2): "b"}
    assert Redactor({"WANDB_API_KEY": "0123456789abcdef"}).value(value) == {
        **value, 100: {"hf_token": "[redacted]"},
    }  # fmt: skip


def test_a_megabyte_without_a_space_is_read_once_from_end_to_end() -> None:
    """Taken from each of its letters anew, it would go on for hours."""
    for text in ("k" * 1_000_000, "a1" * 500_000, "a:" * 500_000, "_-" * 500_000):
        assert Redactor().value({"sequence": text}) == {"sequence": text}


def test_what_was_taken_out_by_its_look_is_not_taken_out_again() -> None:
    key = "hf_abcdefghijklmnopqrstuvwxyz0123"
    assert Redactor().text(f"refused: token={key}, again") == "refused: token=[redacted], again"
