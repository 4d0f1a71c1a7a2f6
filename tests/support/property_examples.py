"""How many examples a property test draws: a quarter of what it asks for, and more where VISREC_EXAMPLES says so.

`make nightly` sets VISREC_EXAMPLES=4: a night draws four times as many as a test asks for.
"""

import os


def examples_of(count):
    """Return how many examples a test that asks for *count* draws."""
    return max(3, round(float(os.environ.get("VISREC_EXAMPLES", "0.25")) * count))
