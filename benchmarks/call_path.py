"""How many files of visrec a query by id passes through, which is what a reader has to open to follow it.

python benchmarks/call_path.py       (in an environment where visrec is installed; some seconds)

For each command a profiler notes every call of a function that vision_recs or visrec_cli defines; what runs while a
module is imported does not count, nor does what reads the C functions and the lazy names. A jump is a call from one of
these files into another one. Prints the files and writes them with their functions to call_path.json beside this file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).parents[1]
VISREC = str(Path(sys.executable).parent / "visrec")
FILTER = "price < 40 and in_stock"
ON_IMPORT = {"vision_recs/_lazy.py", "vision_recs/_native.py"}
_IS_FUNCTION = 0x2  # CO_NEWLOCALS: neither a module nor the body of a class


def main() -> None:
    """Trace a query without and with a filter, and print where it went."""
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        catalog = str(ROOT / "sample_images" / "catalog.csv")
        subprocess.run([VISREC, "index", catalog, "--store", store, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        query = ["similar", "mug-01", "--store", store]
        found = {
            "visrec similar ID": trace(query, Path(folder)),
            f"visrec similar ID --where '{FILTER}'": trace([*query, "--where", FILTER], Path(folder)),
        }
    result = {}
    for command, path in found.items():
        print(f"{command}: {len(path['files'])} files, {path['jumps']} jumps, {path['calls']} calls")
        for file, functions in path["files"].items():
            print(f"    {file:40} {len(functions):3} functions")
        result[command] = {"count": len(path["files"]), **path}
    (Path(__file__).parent / "call_path.json").write_text(json.dumps(result, indent=1) + "\n")


def trace(arguments: list[str], folder: Path) -> dict:
    """Run `visrec` with *arguments* under the profiler in a process of its own, and return what it noted."""
    out = folder / "trace.json"
    subprocess.run([sys.executable, __file__, "--trace", out, *arguments], check=True, stdout=subprocess.DEVNULL)
    return json.loads(out.read_text())


class Profiler:
    """Notes the calls of functions in the folders *roots*, which are named by the keys."""

    def __init__(self, roots: dict[str, Path]) -> None:
        """Note nothing yet."""
        self._roots = {f"{path}{os.sep}": name for name, path in roots.items()}
        self._names: dict[str, str | None] = {}
        self.files: dict[str, set[str]] = defaultdict(set)
        self.calls = self.jumps = 0

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Note *event*, where it is a call of one of our functions."""
        file = self._file(frame.f_code) if event == "call" else None
        if file is None:
            return
        self.calls += 1
        self.files[file].add(frame.f_code.co_qualname)
        caller = None if frame.f_back is None else self._file(frame.f_back.f_code)
        self.jumps += caller not in {None, file}

    def _file(self, code: CodeType) -> str | None:
        if not code.co_flags & _IS_FUNCTION:
            return None
        if code.co_filename not in self._names:
            below = [(root, name) for root, name in self._roots.items() if code.co_filename.startswith(root)]
            name = f"{below[0][1]}/{code.co_filename.removeprefix(below[0][0])}" if below else None
            self._names[code.co_filename] = None if name in ON_IMPORT else name
        return self._names[code.co_filename]


def traced(out: Path, arguments: list[str]) -> None:
    """Run the program in this process with *arguments*, and write what it called to *out*."""
    import visrec_cli.main

    import vision_recs

    roots = {"vision_recs": Path(vision_recs.__file__).parent, "cli": Path(visrec_cli.main.__file__).parent}
    profiler = Profiler(roots)
    leave = os._exit

    def report(status: int) -> None:
        sys.setprofile(None)
        files = {file: sorted(functions) for file, functions in sorted(profiler.files.items())}
        out.write_text(json.dumps({"files": files, "jumps": profiler.jumps, "calls": profiler.calls}))
        leave(status)

    os._exit = report  # the program ends the process itself, to save the time of a tidy end
    sys.argv = ["visrec", *arguments]
    sys.setprofile(profiler)
    visrec_cli.main.main()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--trace"]:
        traced(Path(sys.argv[2]), sys.argv[3:])
    else:
        main()
