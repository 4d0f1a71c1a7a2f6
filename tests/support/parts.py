"""Long tests in parts: of `make nightly PART=3/10`, the third of ten parts, so that a few nights share what takes long.

A part is a tenth of the trials, or of the time. All parts together are the whole if they have the same seed.
"""

import os
import random
import sys
import time


def part_of(trials):
    """Return those of *trials* that belong to the part: all of them, unless VISREC_PART names one."""
    part, parts = _named()
    return list(trials)[part - 1 :: parts]


def part_of_time(seconds):
    """Return the share of *seconds* that the part has."""
    return seconds / _named()[1]


def seed():
    """Return the seed of random trials: VISREC_SEED, or another one each time."""
    return int(os.environ.get("VISREC_SEED") or random.SystemRandom().randrange(1 << 32))


def complaints_about(trials, complaints_of):
    """Return all that *complaints_of* says of each of *trials*; with `pytest -s` it is seen as it is found."""
    found, started = [], time.monotonic()
    for number, trial in enumerate(trials, 1):
        of_trial = list(complaints_of(trial))
        found += of_trial
        for complaint in of_trial:
            sys.stderr.write(f"\n{complaint}")
        if of_trial or number % 100 == 0 or number == len(trials):
            took = time.monotonic() - started
            sys.stderr.write(f"\n{number} of {len(trials)} trials in {took:.0f} s, {len(found)} complaints\n")
    return found


def _named():
    part, parts = map(int, (os.environ.get("VISREC_PART") or "1/1").split("/"))
    if not 1 <= part <= parts:
        raise ValueError(f"VISREC_PART is {part}/{parts}; write it as 3/10")
    return part, parts
