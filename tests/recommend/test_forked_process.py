"""A forked process may ask by image, although the threads that compute vectors are in the process it comes from."""

import json
import subprocess
import sys

CODE = """
import json, os, signal, sys, vision_recs

store, image = sys.argv[1:]
data = open(image, "rb").read()
shop = vision_recs.open(store)

def answer():
    print(json.dumps([[match.id, match.score] for match in shop.similar_to_image(data, k=3)]), flush=True)

answer()
child = os.fork()
if child == 0:
    signal.alarm(100)
    answer()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0, "the forked process does not answer"
"""


def test_a_forked_process_answers_as_the_one_that_it_comes_from(sample_store, sample_images):
    image = sample_images / "mug-01-1.jpg"
    done = subprocess.run(
        [sys.executable, "-c", CODE, sample_store, image], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    first, forked = map(json.loads, done.stdout.splitlines())
    assert first == forked
    assert first[0][0] == "mug-01"
