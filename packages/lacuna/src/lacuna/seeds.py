"""Every random stream of a benchmark, derived from the run's seed by words that name its use.

Two streams of one seed share nothing: knowing the seed that a model was given does not give away
the seed that chose its hidden entries.
"""

import hashlib

import numpy as np


def sequence(seed: int, *words: str, salt: str = "") -> np.random.SeedSequence:
    """The seed sequence of one use, e.g. ``sequence(42, "mask", condition["key"])``.

    `salt` is a secret for blind evaluations: without it, what was drawn cannot be drawn again.
    """
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    key = tuple(int(word) for word in np.frombuffer(digest, dtype="<u4"))
    secret = int.from_bytes(hashlib.sha256(salt.encode()).digest(), "little") if salt else 0
    return np.random.SeedSequence(entropy=[seed, secret], spawn_key=key)


def integer(seed: int, *words: str) -> int:
    """One seed below 2**31, which every library takes."""
    return int(sequence(seed, *words).generate_state(1)[0] >> 1)


def generator(parent: np.random.SeedSequence, *numbers: int) -> np.random.Generator:
    """The generator of a numbered part of `parent`, the same in whatever order parts are made."""
    key = (*parent.spawn_key, *numbers)
    return np.random.default_rng(np.random.SeedSequence(parent.entropy, spawn_key=key))
