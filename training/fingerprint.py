"""Knows a recording again after re-encoding, cutting or renaming: sixteen bits of spectral change every 12.5 ms.

Source: Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002.
"""

import itertools

import numpy as np

from wav2lip_core.mel import COLUMNS_PER_S, NUM_BANDS, log_mel

WORDS_PER_S = COLUMNS_PER_S
NUM_BITS = 16
SAME_SHARE = 0.3  # of bits that differ, below which two stretches are one recording, if they are long
MIN_SIGMAS = 4.5  # and so far from chance, which makes half of them differ
MIN_WORDS = 50  # that two recordings must have in common, 0.6 s
SURE_WORDS = 72  # heard in a piece of 1.3 s: pieces of clips, coded anew with loss, were known again in 19 of 20 tries; with 60 in half of them
MIN_HITS = 4  # equal words at one alignment, before any comparison
MAX_PLACES = 2000  # of one word; commoner ones tell nothing
_WIDTH = 30  # mel columns under one word: so wide that a shift by half a column changes few bits
_LAG = 4  # words between the two whose spectra are compared
_LOW, _NUM_LOW = 0xFFF, 12  # the bits that are compared: of the bands where voices are; noise and coding change those above first
_QUIET_DB = 30.0  # under the loudest words there is nothing to know again
_FLOOR_DB = 40.0  # under the loudest sounds all is taken for equal: coding and noise change it
_MEL_PER_DB = 8 / 100


def fingerprint(voice: np.ndarray) -> np.ndarray:
    """Voice float32 (n,) at 16 kHz -> uint16 (m,), a word every 12.5 ms; 0 where it is quiet."""
    mel = log_mel(voice)
    mel = np.maximum(mel, np.percentile(mel, 99) - _FLOOR_DB * _MEL_PER_DB)
    edges = np.linspace(0, NUM_BANDS, NUM_BITS + 2).astype(int)
    bands = np.stack([mel[a:b].mean(axis=0) for a, b in itertools.pairwise(edges)])
    sums = np.cumsum(np.pad(bands, ((0, 0), (1, 0))), axis=1)
    starts = np.arange(0, bands.shape[1] - _WIDTH + 1)
    if len(starts) <= _LAG:
        return np.zeros(0, np.uint16)
    energy = (sums[:, starts + _WIDTH] - sums[:, starts]) / _WIDTH
    tilt = energy[:-1] - energy[1:]
    bits = (tilt[:, _LAG:] - tilt[:, :-_LAG]) > 0
    words = (bits * (1 << np.arange(NUM_BITS))[:, None]).sum(axis=0).astype(np.uint16)
    level = energy.mean(axis=0)[_LAG:]
    words[level < level.max() - _QUIET_DB * _MEL_PER_DB] = 0
    return words


class KnownRecordings:
    """Fingerprints by name, and which new ones they are."""

    def __init__(self) -> None:
        self._words: dict[str, np.ndarray] = {}
        self._places: dict[int, list[tuple[str, int]]] = {}

    def add(self, name: str, words: np.ndarray) -> None:
        """Remember a recording, uint16 (m,)."""
        self._words[name] = words
        for place, word in enumerate(words.tolist()):
            places = self._places.setdefault(word & _LOW, [])
            if word & _LOW and len(places) < MAX_PLACES:
                places.append((name, place))

    def find(self, words: np.ndarray) -> str | None:
        """The name of the recording that this is a copy of, or a part of, or that is a part of this; None if it is new."""
        hits: dict[tuple[str, int], int] = {}
        for place, word in enumerate(words.tolist()):
            for name, there in self._places.get(word & _LOW, ()):
                hits[name, there - place] = hits.get((name, there - place), 0) + 1
        likely = sorted((key for key, count in hits.items() if count >= MIN_HITS), key=lambda key: -hits[key])
        return next((name for name, shift in likely if _is_same(words, self._words[name], shift)), None)


def _is_same(words: np.ndarray, known: np.ndarray, shift: int) -> bool:
    first, end = max(0, -shift), min(len(words), len(known) - shift)
    ours, theirs = words[first:end], known[first + shift : end + shift]
    heard = (ours != 0) & (theirs != 0)
    if heard.sum() < MIN_WORDS:
        return False
    share = float(np.bitwise_count((ours[heard] ^ theirs[heard]) & _LOW).mean() / _NUM_LOW)
    num_independent = heard.sum() / _WIDTH * _NUM_LOW  # neighbouring words look at nearly the same sound
    return share < min(SAME_SHARE, 0.5 - MIN_SIGMAS * 0.5 / np.sqrt(num_independent))
