"""The feature hook for speech: known sounds have known columns, whatever the file is like."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import wavfile

from tasks.plugins.modules import import_hook
from tests.voices import spoken

HOOK = Path(__file__).parents[3] / "deploy" / "pipelines" / "audio_features.py"


@pytest.fixture
def hook(tmp_path: Path) -> Any:
    """Return the hook as a person's own module beside a pipeline file."""
    shutil.copy(HOOK, tmp_path)
    return import_hook("audio_features", tmp_path)


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def described(hook: Any, folder: Path, rate: int, sound: np.ndarray) -> dict[str, float]:
    wavfile.write(folder / "a.wav", rate, sound)
    made = hook.add_features(pd.DataFrame({"audio": ["a.wav"]}))
    return {name: float(made[name].iloc[0]) for name in hook.NAMES}


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100])
@pytest.mark.parametrize("kind", ["float32", "int16", "int32", "uint8"])
def test_a_tone_is_known_by_its_length_loudness_and_pitch(
    hook: Any, tmp_path: Path, rate: int, kind: str
) -> None:
    sound = tone(440, rate)
    scale = {"float32": (1.0, 0), "int16": (32767, 0), "int32": (2**31 - 1, 0), "uint8": (127, 128)}
    factor, middle = scale[kind]

    found = described(hook, tmp_path, rate, (sound * factor + middle).astype(kind))

    assert found["seconds"] == pytest.approx(0.5, abs=1e-3)
    assert found["loudness"] == pytest.approx(10 * np.log10(0.125), abs=0.1)
    assert found["centroid"] == pytest.approx(440, abs=15)
    assert found["zero_crossings"] == pytest.approx(880, abs=8)


def test_a_vowel_has_nearly_the_same_columns_at_another_rate(hook: Any, tmp_path: Path) -> None:
    def cepstrum(vowel: str, rate: int) -> np.ndarray:
        sound = spoken(vowel, 0, np.random.default_rng(3), rate).astype(np.float32)
        found = described(hook, tmp_path, rate, sound)
        return np.array([found[f"mfcc_{k}_mean"] for k in range(2, 14)])

    same = np.linalg.norm(cepstrum("i", 8_000) - cepstrum("i", 16_000))
    other = np.linalg.norm(cepstrum("i", 8_000) - cepstrum("u", 8_000))
    assert same < other / 2


def test_the_channels_of_a_recording_are_mixed(hook: Any, tmp_path: Path) -> None:
    one = described(hook, tmp_path, 8_000, tone(440, 8_000).astype(np.float32))
    both = np.stack([tone(440, 8_000)] * 2, axis=1).astype(np.float32)
    assert described(hook, tmp_path, 8_000, both) == pytest.approx(one)


def test_what_cannot_be_heard_is_null_and_never_made_up(hook: Any, tmp_path: Path) -> None:
    wavfile.write(tmp_path / "whole.wav", 8_000, (tone(440, 8_000) * 30_000).astype(np.int16))
    whole = (tmp_path / "whole.wav").read_bytes()
    for number, cut in enumerate((0, 3, 20, 44, len(whole) // 2, len(whole) - 2)):
        (tmp_path / f"cut{number}.wav").write_bytes(whole[:cut])
    wavfile.write(tmp_path / "short.wav", 8_000, np.zeros(50, np.int16))
    silent = np.full(4_000, np.nan, np.float32)
    wavfile.write(tmp_path / "nan.wav", 8_000, silent)
    names = [*(f"cut{k}.wav" for k in range(6)), "short.wav", "nan.wav", None, " "]

    made = hook.add_features(pd.DataFrame({"audio": ["whole.wav", *names]}))

    assert made[list(hook.NAMES)].iloc[0].notna().all()
    assert made[list(hook.NAMES)].iloc[1:].isna().all(axis=None)


def test_silence_is_sound(hook: Any, tmp_path: Path) -> None:
    found = described(hook, tmp_path, 8_000, np.zeros(8_000, np.int16))
    assert np.isfinite(list(found.values())).all()
    assert found["loudness"] == pytest.approx(-100)


@pytest.mark.parametrize("name", ["absent.wav", "../a.wav", "/etc/passwd"])
def test_a_file_that_is_not_in_the_folder_is_an_error_with_its_name(hook: Any, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=name):
        hook.add_features(pd.DataFrame({"audio": [name]}))


def test_a_damaged_header_is_never_more_than_nulls(hook: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wavfile.write(tmp_path / "a.wav", 8_000, (rng.normal(size=900) * 3_000).astype(np.int16))
    whole = bytearray((tmp_path / "a.wav").read_bytes())
    nulls = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, 60, rng.integers(1, 6)):
            damaged[place] = rng.integers(256)
        (tmp_path / "b.wav").write_bytes(damaged)
        row = hook.add_features(pd.DataFrame({"audio": ["b.wav"]}))[list(hook.NAMES)]
        assert row.isna().all(axis=None) or np.isfinite(row.to_numpy()).all()
        nulls += int(row.isna().all(axis=None))
    assert nulls > 150
