from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.base.errors import ConfigError, InfrastructureError
from tasks.registry.signing import keys


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration folder of a user who has no key yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(keys.SIGNING_VARIABLE, raising=False)
    return tmp_path / "config" / "keepfit"


def test_a_key_is_made_once_and_only_its_owner_reads_it(folder: Path) -> None:
    assert keys.own_key() is None
    with ThreadPoolExecutor(4) as pool:
        made = {key for key, _ in pool.map(lambda _: keys.sign(b"x"), range(8))}
    assert made == {keys.own_key()} == keys.trusted_keys()
    assert stat.S_IMODE((folder / keys.KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_signature_is_of_one_message_by_one_key(folder: Path) -> None:
    key, signature = keys.sign(b"message")
    assert keys.is_signed(b"message", key, signature)
    assert not keys.is_signed(b"massage", key, signature)
    assert not keys.is_signed(b"message", "0" * 64, signature)
    assert not keys.is_signed(b"message", key, b"short")


def test_hosts_with_the_same_key_in_the_environment_sign_alike(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(keys.SIGNING_VARIABLE, "a1" * 32)
    key, signature = keys.sign(b"x")
    assert keys.is_signed(b"x", key, signature)
    assert not folder.exists()


@pytest.mark.parametrize("value", ["secret", "A" * 64, "ab" * 31])
def test_a_key_in_the_environment_that_is_none_is_refused_without_its_value(
    value: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(keys.SIGNING_VARIABLE, value)
    with pytest.raises(ConfigError, match="64 hex digits") as caught:
        keys.sign(b"x")
    assert value not in str(caught.value)


def test_a_key_that_others_can_read_is_refused(folder: Path) -> None:
    keys.sign(b"x")
    (folder / keys.KEY_FILE).chmod(0o640)
    with pytest.raises(ConfigError, match="mode 0640"):
        keys.sign(b"x")


def test_a_key_that_others_could_read_or_is_none_is_exchanged_and_trusted_no_longer(
    folder: Path,
) -> None:
    first, _ = keys.sign(b"x")
    (folder / keys.KEY_FILE).chmod(0o640)
    former, second = keys.rotate()
    assert former is None
    assert keys.trusted_keys() == {second} != {first}
    (folder / keys.KEY_FILE).write_text("")
    former, third = keys.rotate()
    assert former is None
    assert keys.trusted_keys() == {third}


@pytest.mark.parametrize("name", ["", keys.TRUSTED_FILE])
def test_keys_that_others_can_write_are_refused(name: str, folder: Path) -> None:
    keys.sign(b"x")
    keys.trust("c" * 64)
    (folder / name).chmod(0o770 if not name else 0o660)
    with pytest.raises(ConfigError, match=r"mode 0(77|66)0"):
        keys.trusted_keys()


def test_after_a_rotation_the_former_key_is_trusted_until_it_is_distrusted(folder: Path) -> None:
    first, _ = keys.sign(b"x")
    former, key = keys.rotate()
    assert (former, keys.own_key()) == (first, key)
    assert keys.trusted_keys() == {first, key}
    assert keys.distrust(first)
    assert not keys.distrust(first)
    assert keys.trusted_keys() == {key}


def test_a_key_of_the_environment_is_not_rotated_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(keys.SIGNING_VARIABLE, "a1" * 32)
    with pytest.raises(ConfigError, match=keys.TRUSTED_VARIABLE):
        keys.rotate()


@pytest.mark.parametrize("name", [keys.trust, keys.distrust], ids=["trust", "distrust"])
def test_comments_of_the_trusted_keys_stay(name: Callable[[str], object], folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / keys.TRUSTED_FILE).write_text(f"# colleagues\n{'b' * 64}  # Ana\n")
    name("c" * 64)
    assert "# colleagues\n" in (folder / keys.TRUSTED_FILE).read_text()
    assert "b" * 64 in keys.trusted_keys()


def test_a_trusted_key_that_is_none_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="'x' is no public key"):
        keys.trust("x")
    monkeypatch.setenv(keys.TRUSTED_VARIABLE, "y")
    with pytest.raises(ConfigError, match="'y' is no public key"):
        keys.trusted_keys()


def test_trusted_keys_that_are_no_text_are_named_with_what_to_do(folder: Path) -> None:
    keys.sign(b"x")
    file = folder / keys.TRUSTED_FILE
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InfrastructureError, match=r"trusted_keys: .* cannot be read") as error:
        keys.trusted_keys()
    assert "a key a line" in error.value.remedy
    file.unlink()
    file.mkdir(mode=0o700)
    with pytest.raises(InfrastructureError, match="cannot be read"):
        keys.trusted_keys()


def test_a_folder_that_cannot_be_written_is_told_with_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    monkeypatch.delenv(keys.SIGNING_VARIABLE, raising=False)
    assert keys.trusted_keys() == frozenset()
    with pytest.raises(InfrastructureError) as caught:
        keys.sign(b"x")
    assert keys.SIGNING_VARIABLE in caught.value.remedy
