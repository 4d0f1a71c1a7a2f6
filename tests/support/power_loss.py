"""What a power cut may leave of a folder whose changes `shim.c` kept a journal of.

A file has the bytes of its last fsync, or the newest ones, or a part of them; a folder has the names of its last fsync,
or the newest ones, or some of both. A file with several names is one file. Whatever was there at the beginning counts
as flushed.
"""

import os
import shutil

WAYS = ("old names, old bytes", "new names, old bytes", "new names, half of the bytes", "anything")


def files_below(folder):
    """Return all that a command may find below *folder*: each name with its bytes, None for a folder."""
    return {
        path.relative_to(folder): (None if path.is_dir() else path.read_bytes(), path.stat().st_nlink)
        for path in folder.rglob("*")
    }


class Journal:
    """The journal of the folder *place*, kept in *folder* from now on."""

    def __init__(self, place, folder):
        self._folder = folder
        self._root = place.stat().st_ino
        self._made = {}  # the file of each inode that has one already: it may have several names
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path in [place, *place.rglob("*")]:
            inode = path.stat().st_ino
            if path.is_dir():
                entries = [(entry.inode(), entry.is_dir(), os.fsencode(entry.name)) for entry in os.scandir(path)]
                (folder / f"{inode}.names").write_bytes(b"".join(b"%d %d %s\0" % entry for entry in entries))
            else:
                (folder / f"{inode}.bytes").write_bytes(path.read_bytes())

    def rebuild(self, target, way, draw, *, live):
        """Make *target* what a power cut leaves of the folder that was moved to *live*; *draw* is a `random.Random`."""
        live = {path.stat().st_ino: path for path in [live, *live.rglob("*")]}
        shutil.rmtree(target, ignore_errors=True)
        self._made = {}
        self._make_folder(self._root, target, live, way, draw)

    def _make_folder(self, inode, target, live, way, draw):
        target.mkdir()
        flushed = self._names(inode)
        entries = os.scandir(live[inode]) if inode in live else ()
        newest = {entry.name: (entry.inode(), entry.is_dir()) for entry in entries}
        for name in sorted({*flushed, *newest}):
            old, new = flushed.get(name), newest.get(name)
            found = draw.choice([old, new]) if way == "anything" else old if way.startswith("old") else new
            if found is not None:
                inode_of_name, is_folder = found
                if is_folder:
                    self._make_folder(inode_of_name, target / name, live, way, draw)
                elif inode_of_name in self._made:
                    os.link(self._made[inode_of_name], target / name)
                else:
                    self._made[inode_of_name] = target / name
                    (target / name).write_bytes(self._bytes(inode_of_name, live, way, draw))

    def _bytes(self, inode, live, way, draw):
        kept = self._folder / f"{inode}.bytes"
        flushed = kept.read_bytes() if kept.exists() else b""
        newest = live[inode].read_bytes() if inode in live else flushed
        if newest == flushed or way.endswith("old bytes"):
            return flushed
        half = newest[: len(newest) // 2]
        return half if way.endswith("half of the bytes") else draw.choice([flushed, newest, half, bytes(len(newest))])

    def _names(self, inode):
        kept = self._folder / f"{inode}.names"
        entries = kept.read_bytes().split(b"\0")[:-1] if kept.exists() else []
        parts = (entry.split(b" ", 2) for entry in entries)
        return {os.fsdecode(name): (int(number), is_folder == b"1") for number, is_folder, name in parts}
