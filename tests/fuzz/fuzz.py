"""Run a target under atheris: python tests/fuzz/fuzz.py TARGET [options of libFuzzer], as -max_total_time=300.

What it finds is in the file that it names; put it into `corpus/TARGET`, where `test_fuzz.py` runs it ever after.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # small arrays are searched faster by one thread
sys.path[:0] = [str(Path(__file__).parents[1] / "support")]
import atheris  # noqa: E402

with atheris.instrument_imports(include=["vision_recs"]):
    import fuzz_targets


def main():
    name, *options = sys.argv[1:]
    corpus = Path(tempfile.mkdtemp(prefix="visrec-corpus-"))
    for number, seed in enumerate(fuzz_targets.seeds(name)):
        (corpus / f"{number:03}").write_bytes(seed)
    arguments = [sys.argv[0], str(corpus), "-timeout=20", "-rss_limit_mb=4000", "-len_control=0", *options]
    atheris.Setup(arguments, lambda data: fuzz_targets.run(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
