"""Rows that say nearly the same: MinHash over three-word shingles, then the Jaccard index of those that met."""

from __future__ import annotations

import zlib
from collections import defaultdict
from itertools import combinations

import numpy as np

PERMUTATIONS, BANDS = 64, 16
ALIKE = 0.8
"""Share of shingles that two rows have in common, from which they count as near-duplicates."""
LARGEST_WORDS = 400
_PRIME = (1 << 31) - 1


def near_duplicates(texts: list[str], seed: int = 0) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of texts that share at least four fifths of their shingles and are not equal.

    Broder, "On the resemblance and containment of documents" (1997); banding as in Leskovec et al., "Mining of
    Massive Datasets", section 3.4.
    """
    shingles = [_shingles(text) for text in texts]
    random = np.random.default_rng(seed)
    factors = random.integers(1, _PRIME, PERMUTATIONS, dtype=np.int64)[:, None]
    offsets = random.integers(0, _PRIME, PERMUTATIONS, dtype=np.int64)[:, None]
    buckets: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    for place, found in enumerate(shingles):
        if len(found) < 5:
            continue
        hashes = np.fromiter(found, np.int64, len(found)) % _PRIME
        least = ((factors * hashes + offsets) % _PRIME).min(axis=1)
        for band, part in enumerate(least.reshape(BANDS, -1)):
            buckets[band, part.tobytes()].append(place)
    met = {pair for places in buckets.values() if len(places) < 50 for pair in combinations(places, 2)}
    return sorted(
        (one, two) for one, two in met if texts[one] != texts[two] and _alike(shingles[one], shingles[two])
    )


def _shingles(text: str) -> frozenset[int]:
    words = [word.encode("utf-8", "replace") for word in text.lower().split()[:LARGEST_WORDS]]
    return frozenset(map(zlib.crc32, map(b" ".join, zip(words, words[1:], words[2:], strict=False))))


def _alike(one: frozenset[int], two: frozenset[int]) -> bool:
    return len(one & two) >= ALIKE * len(one | two)
