"""Random numbers that depend on their purpose, not on when or where they are drawn.

A sample's numbers are a hash of (seed, step, question, sample), so they do not depend on the
rest of its batch, on the number of processes, or on whether the run was resumed.
"""

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash_seed(*parts: int | str) -> int:
    """A 63-bit seed from any mix of ints and strings; stable across machines and versions."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def uniforms(seeds: list[int], count: int) -> np.ndarray:
    """Counter-based uniform numbers in [0, 1): float32 [len(seeds), count].

    Row i depends on ``seeds[i]`` alone (splitmix64; Steele et al. 2014,
    doi:10.1145/2714064.2660195).
    """
    counter = np.arange(1, count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.asarray(seeds, dtype=np.uint64)[:, None] + counter * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    # 24 bits: every value is exact in float32 and below 1.
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
