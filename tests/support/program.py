"""The program `visrec`, run by forks of a process that has imported what commands import: that is most of their time.

It is the program but for its start: in a process of its own, with the folder, the environment and the streams of a
command. What is read while Python and its libraries are loaded is as it was when the process began: see `as_begun`.
"""

import contextlib
import importlib
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from faulty_process import WITH_TORCH, end_as_python_does, import_everything
from forks import Forks, carry_out_orders

PROGRAM = Path(sys.executable).parent / "visrec"
TIMEOUT_S = 580  # less than pytest has for a test
READ_AT_START = ("PYTHON", "OMP_", "OPENBLAS_", "MKL_", "KMP_", "LD_", "LC_", "LANG", "MALLOC_")
"""How the names of variables begin that Python and its libraries read while they are loaded."""
SET_BY_LIBRARIES = {"KMP_DUPLICATE_LIB_OK", "PYTHONBREAKPOINT"}
"""What threadpoolctl and Ray set in a process that imports them, which says nothing of how it began."""


class Program:
    """The process, as a test sees it, and another one for what needs torch; *folder* takes what commands print.

    It runs the file *script*, which may change the program before it calls `main`.
    """

    def __init__(self, folder, script=__file__):
        self._folder = folder
        self._script = str(script)
        self._begun = as_begun(os.environ)
        self._forks = {}
        self._one_at_a_time = threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for forks in self._forks.values():
            forks.__exit__(*error)

    def run(self, arguments, cwd, environment, program=PROGRAM):
        """Run `visrec *arguments*`, or Python where it is the *program*, and return what subprocess.run would."""
        command = [str(program), *arguments]
        if as_begun(environment) != self._begun or "serve" in arguments:
            return in_a_process(command, cwd, environment)
        with self._one_at_a_time:
            ended = self._fork(command, cwd, environment, self._folder)
            said = [(self._folder / name).read_text() for name in ("out", "err")]
        if ended.was_killed:
            raise subprocess.TimeoutExpired(command, TIMEOUT_S, *said)
        return subprocess.CompletedProcess(command, ended.status, *said)

    def run_with_streams(self, arguments, cwd, environment, *, out, err):
        """Run `visrec *arguments*` with the files or devices *out* and *err* as its streams, and return its status."""
        assert as_begun(environment) == self._begun
        with self._one_at_a_time, tempfile.TemporaryDirectory(dir=self._folder) as folder:
            Path(folder, "out").symlink_to(out)
            Path(folder, "err").symlink_to(err)
            ended = self._fork([str(PROGRAM), *map(os.fspath, arguments)], cwd, environment, folder)
        assert not ended.was_killed
        return ended.status

    def _fork(self, command, cwd, environment, folder):
        torch = ("torch",) if command[1:2] and command[1] in WITH_TORCH else ()
        if torch not in self._forks:
            self._forks[torch] = Forks(self._script, *torch)
        order = [command, str(cwd or Path.cwd()), environment, str(folder)]
        return self._forks[torch].run(order, kill_after_s=TIMEOUT_S)


def as_begun(environment):
    """Return what of *environment* is read once, as a process begins."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_START) and name not in SET_BY_LIBRARIES
    }


def in_a_process(command, cwd, environment):
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def carry_out(order):
    """Become the program that *order* wants."""
    sys.argv, folder, environment, said = order
    create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    opened = [os.open("/dev/null", os.O_RDONLY), *(os.open(f"{said}/{name}", create, 0o666) for name in ("out", "err"))]
    for descriptor, file in enumerate(opened):
        os.dup2(file, descriptor)
        os.close(file)
    # The streams of before know of other files: whether one can seek, and whether it is a terminal.
    sys.stdout = open(1, "w", encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, sys.stderr.encoding, "backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if sys.argv[0] == sys.executable:
        run_python(sys.argv[1:])
        return
    import visrec_cli.main as program

    program.main()


def run_python(arguments):
    """Do what `python *arguments*` does, which are -c and a text, or a file and arguments of its own."""
    if arguments[0] == "-c":
        sys.argv = ["-c"]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def import_for(order):
    """Import what is most of the time that an import of LanceDB takes, which itself starts a thread."""
    if any("lance:" in word for word in order[0]):
        with contextlib.suppress(ImportError):
            importlib.import_module("lance_namespace")


def main():
    import_everything(torch="torch" in sys.argv[1:])
    importlib.import_module("vision_recs.encoders.openvino_runtime")  # openvino alone sends what it is used for
    carry_out_orders(lambda order: end_as_python_does(lambda: carry_out(order)), import_for)


if __name__ == "__main__":
    main()
