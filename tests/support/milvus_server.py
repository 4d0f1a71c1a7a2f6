"""Runs pytest beside a real Milvus server: `python milvus_server.py PACKAGE DATA ARGUMENTS...`.

PACKAGE is a folder with the package `milvus` 2.3.5, in which the server is. It listens on all interfaces, so this runs
in a network namespace of its own only: where it is not alone with a loopback, it refuses.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys


def main(package: str, data: str, arguments: list[str]) -> int:
    if {name for _, name in socket.if_nameindex()} != {"lo"}:
        sys.exit("this is no network namespace of its own: the server would be open to others")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    sys.path.append(package)
    from milvus import MilvusServer

    server = MilvusServer()
    server.set_base_dir(data)
    try:
        server.start()
        uri = f"milvus://127.0.0.1:{server.listen_port}"
        command = [sys.executable, "-m", "pytest", *arguments]
        return subprocess.run(command, env={**os.environ, "VISREC_MILVUS_URI": uri}, check=False).returncode
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
