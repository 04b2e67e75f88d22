"""Speech as columns: a feature hook that turns recordings into numbers a table can hold.

Copy it beside a pipeline file whose rows name WAV files, relative to that file::

    id_columns: [audio]          # the column with the files' names: never a feature itself
    hooks: {features: audio_features:add_features}
    split: {group: speaker}      # where there is one: new voices are what a model has to bear

A row becomes its length, loudness, zero crossings and spectral centroid, and 13 mel-frequency
cepstral coefficients: their mean, spread and change over the recording, and their mean in each
fifth of it, to distinguish what comes first from what comes last. Whatever a recording's rate,
it is described as if it had come by telephone, 8,000 values a second; several channels are mixed.

A file that is there and holds no sound that can be read gives a row of nulls, which the contract
counts. One that is not there is an error.

References
----------
Davis and Mermelstein (1980), Comparison of parametric representations for monosyllabic word
recognition in continuously spoken sentences, IEEE TASSP 28.
"""

from __future__ import annotations

import struct
import warnings
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.io import wavfile
from scipy.signal import resample_poly

COLUMN = "audio"  # the column that names the files
MOST_BYTES = 50_000_000  # larger files are not read: rows are utterances, not whole talks

FRAME, HOP = 0.025, 0.010  # seconds of a frame, and from the start of one to the start of the next
RATE = 8_000  # values a second that every recording is brought to
FILTERS, COEFFICIENTS, PARTS = 26, 13, 5
_QUIET = 1e-10
_UNREADABLE = (
    ValueError, EOFError, OSError, MemoryError, ArithmeticError, struct.error,
    NameError,  # scipy has no value for a part that the file lacks
    wavfile.WavFileWarning,
)  # fmt: skip
"""Errors of scipy's reader for files that are no sound, or half of it."""

Floats = NDArray[np.float64]

NAMES = (
    "seconds", "loudness", "zero_crossings", "centroid",
    *(
        f"mfcc_{k}_{what}"
        for what in ("mean", "spread", "change", *(f"part_{part}" for part in range(1, PARTS + 1)))
        for k in range(1, COEFFICIENTS + 1)
    ),
)  # fmt: skip


def add_features(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` with the columns `NAMES` of the recording that each of them names."""
    described = [describe(path_of(name)) for name in rows[COLUMN]]
    made = pd.DataFrame(described, index=rows.index, columns=list(NAMES), dtype=np.float64)
    return pd.concat([rows, made], axis=1)


def path_of(name: object) -> Path | None:
    """Return the file of a row; None where it names none."""
    if not isinstance(name, str) or not name.strip():
        return None
    folder = Path(__file__).resolve().parent
    path = folder.joinpath(name).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise FileNotFoundError(f"there is no file {name!r} in {folder}")
    return path


def describe(path: Path | None) -> Floats:
    """Return the values of `NAMES` for one recording; NaN for what cannot be read."""
    nothing = np.full(len(NAMES), np.nan)
    if path is None or path.stat().st_size > MOST_BYTES:
        return nothing
    try:
        with warnings.catch_warnings():
            # A file cut off within its sound raises; chunks that are no sound do no harm.
            warnings.simplefilter("error", wavfile.WavFileWarning)
            warnings.filterwarnings("ignore", "Chunk", wavfile.WavFileWarning)
            rate, sound = wavfile.read(path)
    except _UNREADABLE:
        return nothing
    signal = _mono(np.asarray(sound))
    if rate <= 0 or len(signal) < 2 * FRAME * rate or not np.isfinite(signal).all():
        return nothing
    seconds = len(signal) / rate
    if rate != RATE:
        shared = gcd(rate, RATE)
        signal = resample_poly(signal, RATE // shared, rate // shared)
    return np.append(seconds, _described(signal))


def _mono(sound: NDArray[Any]) -> Floats:
    """Return one channel between -1 and 1."""
    kind = sound.dtype
    signal = sound.astype(np.float64)
    if kind == np.uint8:
        signal = (signal - 128) / 128
    elif np.issubdtype(kind, np.integer):
        signal = signal / np.iinfo(kind).max
    return signal if signal.ndim == 1 else signal.mean(axis=1)


def _described(signal: Floats) -> Floats:
    """Return all but the length of a recording of the rate `RATE`."""
    power, frequencies = spectrum(signal)
    total = power.sum(axis=1)
    loud = total > 1e-4 * total.max()
    centroid = (power[loud] @ frequencies / total[loud]).mean() if loud.any() else 0.0
    crossings = np.count_nonzero(np.diff(np.signbit(signal))) / (len(signal) / RATE)
    loudness = 10 * np.log10(np.mean(signal**2) + _QUIET)
    cepstrum = mfcc(power, frequencies)
    change = np.abs(np.diff(cepstrum, axis=0)).mean(axis=0)
    parts = [part.mean(axis=0) for part in np.array_split(cepstrum, PARTS)]
    whole = [loudness, crossings, centroid]
    return np.concatenate([whole, cepstrum.mean(axis=0), cepstrum.std(axis=0), change, *parts])


def spectrum(signal: Floats) -> tuple[Floats, Floats]:
    """Return the power of each frame, shape (n_frames, n_bins), and the hertz of each bin."""
    size, step = int(FRAME * RATE), int(HOP * RATE)
    frames = np.lib.stride_tricks.sliding_window_view(signal, size)[::step]
    # As many frames as there are parts, at the least.
    if len(frames) < PARTS:
        frames = np.repeat(frames, -(-PARTS // len(frames)), axis=0)
    power = np.abs(np.fft.rfft(frames * np.hamming(size), axis=1)) ** 2 / size
    return power, np.asarray(np.fft.rfftfreq(size, 1 / RATE), dtype=np.float64)


def mfcc(power: Floats, frequencies: Floats) -> Floats:
    """Return mel-frequency cepstral coefficients, shape (n_frames, 13)."""
    edges = _hertz(np.linspace(0.0, _mel(RATE / 2), FILTERS + 2))
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (frequencies - low) / (middle - low)
    falling = (high - frequencies) / (high - middle)
    filters = np.clip(np.minimum(rising, falling), 0.0, None)
    energy = np.log(power @ filters.T + _QUIET)
    return np.asarray(dct(energy, type=2, axis=1, norm="ortho")[:, :COEFFICIENTS])


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: Floats) -> Floats:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))
