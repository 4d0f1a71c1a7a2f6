"""Damaged files: what a disk, a copy that was cut off or a mistake may leave of a file."""

from dataclasses import dataclass
from pathlib import Path

HEADER = 128


@dataclass(frozen=True)
class Damage:
    """What was done to the files *paths*, below a store; the first one was to be damaged."""

    way: str
    paths: tuple[str, ...]
    offset: int = 0

    def __str__(self):
        return f"{self.way} {' and '.join(self.paths)} at {self.offset}"


def damage(store, path, draw):
    """Damage the file *path* of the folder *store* in a way that *draw* draws, and return the Damage.

    None says that the file is as it was.
    """
    file, before = store / path, (store / path).read_bytes()
    way = draw.choice(sorted(WAYS))
    offset = draw.randrange(min(len(before), draw.choice([HEADER, 1 << 40]))) if before else 0
    others = WAYS[way](file, bytearray(before), offset, draw, store)
    if file.exists() and file.read_bytes() == before:
        return None
    return Damage(way, (path, *(str(other.relative_to(store)) for other in others)), offset)


def _flip(file, data, offset, draw, _store):
    if data:
        data[offset] ^= 1 << draw.randrange(8)
    file.write_bytes(data)
    return ()


def _overwrite(file, data, offset, draw, _store):
    stop = min(len(data), offset + draw.choice([1, 4, 8, 64, 512, 4096]))
    data[offset:stop] = draw.choice([b"\0", b"\xff", b"\x7f", b" "]) * (stop - offset)
    file.write_bytes(data)
    return ()


def _cut(file, data, offset, _draw, _store):
    file.write_bytes(data[:offset])
    return ()


def _extend(file, data, _offset, draw, _store):
    file.write_bytes(data + draw.randbytes(draw.choice([1, 8, 500])))
    return ()


def _exchange(file, data, offset, draw, _store):
    """Exchange two parts of the file."""
    other, length = draw.randrange(len(data) or 1), draw.choice([4, 8, 48])
    first, second = sorted([offset, other])
    if second + length <= len(data) and second - first >= length:
        data[first : first + length], data[second : second + length] = (
            data[second : second + length],
            data[first : first + length],
        )
    file.write_bytes(data)
    return ()


def _take_for_another(file, _data, _offset, draw, store):
    """Put the bytes of another file of the store in its place, of one that is like it if there is one."""
    others = [path for path in files_of(store) if (store / path) != file]
    alike = [path for path in others if Path(path).suffix == file.suffix]
    file.write_bytes((store / draw.choice(alike if alike and draw.random() < 0.8 else others)).read_bytes())
    return ()


def _swap(file, data, _offset, draw, store):
    """Exchange two files of the store."""
    alike = [path for path in files_of(store) if (store / path) != file and Path(path).suffix == file.suffix]
    if not alike:
        return ()
    other = store / draw.choice(alike)
    file.write_bytes(other.read_bytes())
    other.write_bytes(data)
    return (other,)


def _randomize(file, data, _offset, draw, _store):
    file.write_bytes(draw.randbytes(len(data)))
    return ()


def _delete(file, _data, _offset, _draw, _store):
    file.unlink()
    return ()


WAYS = {
    "flip a bit of": _flip,
    "flip a bit in": _flip,
    "overwrite a part of": _overwrite,
    "overwrite in": _overwrite,
    "cut": _cut,
    "extend": _extend,
    "exchange parts of": _exchange,
    "put another file for": _take_for_another,
    "swap": _swap,
    "randomize": _randomize,
    "delete": _delete,
}


def files_of(store):
    """Return the paths of the files of the folder *store*, relative to it, but for the lock."""
    files = (path for path in store.rglob("*") if path.is_file() and path.name != "LOCK")
    return sorted(str(path.relative_to(store)) for path in files)
