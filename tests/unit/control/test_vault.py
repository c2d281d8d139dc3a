"""Secrets at rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.domain.errors import Permanent
from porter.vault import Vault, open_vault


def test_what_is_sealed_is_opened_with_the_same_key_and_label(tmp_path: Path) -> None:
    vault = open_vault(tmp_path / "keys" / "secret.key")
    sealed = vault.seal("site", {"key": "value", "ü": "ö"})
    assert "value" not in sealed
    assert sealed != vault.seal("site", {"key": "value", "ü": "ö"})
    again = open_vault(tmp_path / "keys" / "secret.key")
    assert again.open("site", sealed) == {"key": "value", "ü": "ö"}
    assert (tmp_path / "keys" / "secret.key").stat().st_mode & 0o777 == 0o600
    assert vault.seal("site", {}) == ""
    assert vault.open("site", "") == {}


def test_another_key_label_or_text_is_refused(tmp_path: Path) -> None:
    vault = Vault(b"one")
    sealed = vault.seal("site", {"key": "value"})
    for wrong in (
        lambda: Vault(b"two").open("site", sealed),
        lambda: vault.open("other", sealed),
        lambda: vault.open("site", sealed[:-8] + "AAAAAAA="),
        lambda: vault.open("site", "v1:nonsense"),
    ):
        with pytest.raises(Permanent, match="sealed with another key"):
            wrong()


def test_derived_secrets_are_stable_and_apart() -> None:
    vault = Vault(b"one")
    assert vault.derive("a") == Vault(b"one").derive("a")
    assert len({vault.derive("a"), vault.derive("b"), Vault(b"two").derive("a")}) == 3
    assert len(vault.derive("a")) >= 32
