"""Vowels spoken by a source and a filter: pulses of a voice through the resonances of a mouth.

References
----------
Peterson and Barney (1952), Control methods used in a study of the vowels, JASA 24, table II: the
mean formants of men, women and children.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import wavfile
from scipy.signal import lfilter

FORMANTS = {
    "i": ((270, 2290, 3010), (310, 2790, 3310), (370, 3200, 3730)),
    "ae": ((660, 1720, 2410), (860, 2050, 2850), (1010, 2320, 3320)),
    "a": ((730, 1090, 2440), (850, 1220, 2810), (1030, 1370, 3170)),
    "u": ((300, 870, 2240), (370, 950, 2670), (430, 1170, 3260)),
}
PITCH = (130.0, 220.0, 270.0)


def spoken(vowel: str, who: int, rng: np.random.Generator, rate: int = 8_000) -> np.ndarray:
    """Return a vowel of a third of a second by a man (0), a woman (1) or a child (2)."""
    length = int(rate * rng.uniform(0.25, 0.4))
    pitch = PITCH[who] * rng.uniform(0.9, 1.1)
    phase = np.cumsum(np.full(length, pitch / rate) * (1 + 0.01 * rng.standard_normal(length)))
    sound = np.diff(np.floor(phase), prepend=0.0) + 0.01 * rng.standard_normal(length)
    for formant in FORMANTS[vowel][who]:
        turn = 2 * np.pi * formant * rng.uniform(0.95, 1.05) / rate
        radius = np.exp(-np.pi * 90 / rate)
        sound = lfilter([1.0], [1.0, -2 * radius * np.cos(turn), radius**2], sound)
    return np.asarray(sound / np.abs(sound).max())


def recorded(folder: Path, speakers: int, each: int, seed: int = 0) -> pd.DataFrame:
    """Write `each` recordings of every vowel by every speaker; return which file holds what."""
    rng, rows = np.random.default_rng(seed), []
    (folder / "sounds").mkdir(parents=True, exist_ok=True)
    for speaker in range(speakers):
        for vowel in FORMANTS:
            for take in range(each):
                name = f"sounds/{vowel}_{speaker}_{take}.wav"
                rate = (8_000, 16_000)[take % 2]
                sound = spoken(vowel, speaker % 3, rng, rate)
                wavfile.write(folder / name, rate, (sound * 20_000).astype(np.int16))
                rows.append({"audio": name, "speaker": f"s{speaker}", "vowel": vowel})
    return pd.DataFrame(rows)
