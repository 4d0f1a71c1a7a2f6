"""How much memory `visrec embed` takes at its peak, over many images.

python benchmarks/embed_memory.py [--images N]      100,000 images: 5 minutes at 350 a second, 4 GB of disk

It is the program itself that runs, as a shop would run it, on a folder of files. Hard links would share one digest, and
visrec embeds a digest once; so every file is a 500 px JPEG with a comment of its own, which changes its digest, but
neither its pixels nor the way in which it is decoded. Prints the result and writes embed_memory.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import sleep
from typing import Any

from embedding import tables
from embedding.images import SAMPLES, first_files, make_images
from machine import provenance

RESULTS = Path(__file__).parent / "embed_memory.json"
VISREC = str(Path(sys.executable).parent / "visrec")
_FILES_A_FOLDER = 1000
_INTERVAL_S = 0.2


def main() -> None:
    """Make the images, embed them, and write down what it took."""
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix="visrec-benchmark-", dir=arguments.work) as folder:
        work = Path(folder)
        few, many = work / "few", work / "many"
        make_copies(work, few, 32)
        make_copies(work, many, arguments.images)
        _, _, first_peak = embed(few, work, arguments.encoder)
        report, resident, peak = embed(many, work, arguments.encoder)
    if report["embedded"] != arguments.images:
        raise ValueError(f"{report['embedded']} images of {arguments.images} were embedded")
    result = {
        "images": arguments.images,
        "encoder": report["encoder"],
        "runtime": report["runtime"],
        "peak_mb": round(peak, 1),
        "resident_mb": [round(resident[at * (len(resident) - 1) // 10], 1) for at in range(1, 11)],
        "first_start_peak_mb": round(first_peak, 1),
        **{key: report[key] for key in ("seconds", "images_per_second", "stages", "bottleneck")},
        **provenance("openvino", "simplejpeg", "numpy"),
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(tables.memory_table(result))
    if arguments.output == RESULTS:
        tables.write()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, metavar="N")
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where to put the images, in place of $TMPDIR")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FILE")
    return parser.parse_args()


def make_copies(work: Path, folder: Path, count: int) -> None:
    """Fill *folder* with *count* files of 500 x 500 pixels, all with different bytes."""
    bases = min(count, len(list(SAMPLES.glob("*.jpg"))))
    make_images(work / "bases", size=500, count=bases)
    images = [file.read_bytes() for file in first_files(work / "bases", bases)]
    for number in range(count):
        shelf = folder / f"{number // _FILES_A_FOLDER:03d}"
        shelf.mkdir(parents=True, exist_ok=True)
        (shelf / f"{number:06d}.jpg").write_bytes(with_comment(images[number % bases], f"image {number}"))


def with_comment(data: bytes, comment: str) -> bytes:
    """Return the JPEG *data* with a COM segment (ITU-T T.81, B.2.4.5) behind its JFIF header."""
    if data[:4] != b"\xff\xd8\xff\xe0":
        raise ValueError(f"the JPEG starts with {data[:4]!r}, not with a JFIF header")
    behind = 4 + int.from_bytes(data[4:6], "big")
    text = comment.encode()
    return data[:behind] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + data[behind:]


def embed(folder: Path, work: Path, encoder: str) -> tuple[dict[str, Any], list[float], float]:
    """Run `visrec embed` on *folder*; return its report, and in MB its memory each fifth of a second and the peak.

    Memory is what is resident, summed over the process and its children, pages that they share counted for each of
    them. The peak is at least what the kernel saw of the main process, also between two looks.
    """
    command = [VISREC, "embed", str(folder), "--store", str(work / f"store-{folder.name}"), "--encoder", encoder]
    environment = {**os.environ, "VISREC_CACHE": str(work / "cache")}
    output = work / f"{folder.name}.out"
    with output.open("wb") as stdout:
        process = subprocess.Popen([*command, "--json", "--quiet"], stdout=stdout, env=environment)
        resident = []
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            resident.append(sum(map(resident_mb, tree(process.pid))))
            sleep(_INTERVAL_S)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
    return json.loads(output.read_text("utf-8")), resident, max(*resident, usage.ru_maxrss / 1024)


def tree(process: int) -> list[int]:
    """Return *process* and all that descend from it."""
    try:
        listed = Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()
    except OSError:
        return []
    return [process, *(each for child in listed for each in tree(int(child)))]


def resident_mb(process: int) -> float:
    """Return the resident memory of *process* in MB, or 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
