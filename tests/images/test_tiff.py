"""Every layout of TIFF, written byte by byte: it decodes right, or it is unsupported; nothing is silently wrong."""

import itertools
import struct

import numpy as np
import pytest

from vision_recs.errors import ImageError
from vision_recs.images import decode

KINDS = {  # samples, photometric interpretation, extra samples
    "white is zero": (1, 0, ()),
    "black is zero": (1, 1, ()),
    "palette": (1, 3, ()),
    "gray and alpha": (2, 1, (2,)),
    "gray and premultiplied alpha": (2, 1, (1,)),
    "rgb": (3, 2, ()),
    "rgb and alpha": (4, 2, (2,)),
    "rgb and premultiplied alpha": (4, 2, (1,)),
    "rgb and another": (4, 2, (0,)),
    "cmyk": (4, 5, ()),
}
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
RIGHT = {  # what has to decode: little-endian, samples in chunks, the highest bit first
    ("white is zero", UNSIGNED): {1, 2, 4, 8, 16},
    ("black is zero", UNSIGNED): {1, 2, 4, 8, 12, 16, 32},
    ("white is zero", FLOAT): {32},
    ("black is zero", FLOAT): {32},
    ("palette", UNSIGNED): {1, 2, 4, 8},
    ("gray and alpha", UNSIGNED): {8},
    ("gray and premultiplied alpha", UNSIGNED): {8},
    ("rgb", UNSIGNED): {8, 16},
    ("rgb and alpha", UNSIGNED): {8, 16},
    ("rgb and premultiplied alpha", UNSIGNED): {8, 16},
    ("rgb and another", UNSIGNED): {8, 16},
    ("cmyk", UNSIGNED): {8, 16},
}
LAYOUTS = list(itertools.product((1, 2, 4, 8, 12, 16, 32, 64), (UNSIGNED, SIGNED, FLOAT), "<>", (1, 2), (1, 2)))


def packed(rows, bits, form, order, fill):
    """Return *rows* of samples as bytes; *fill* 2 turns the bits of each byte round."""
    if form == FLOAT:
        data = b"".join(row.astype(f"{order}f{bits // 8}").tobytes() for row in rows)
    elif bits in {8, 16, 32, 64}:
        data = b"".join(row.astype(f"{order}{'i' if form == SIGNED else 'u'}{bits // 8}").tobytes() for row in rows)
    else:
        texts = ("".join(format(int(value), f"0{bits}b") for value in row) for row in rows)
        padded = (text + "0" * (-len(text) % 8) for text in texts)
        data = b"".join(int(text, 2).to_bytes(len(text) // 8, "big") for text in padded)
    return data if fill == 1 else bytes(int(format(byte, "08b")[::-1], 2) for byte in data)


def tiff(samples, kind, layout, palette):
    """Return an uncompressed TIFF of *samples* (height, width, n)."""
    bits, form, order, fill, planar = layout
    height, width, count = samples.shape
    planes = [samples.reshape(height, -1)] if planar == 1 else [samples[:, :, place] for place in range(count)]
    strips = [packed(plane, bits, form, order, fill) for plane in planes]
    _, photometric, extra = KINDS[kind]
    shorts = {256: [width], 257: [height], 258: [bits] * count, 259: [1], 262: [photometric], 266: [fill]}
    shorts |= {277: [count], 278: [height], 284: [planar], 339: [form] * count}
    shorts |= ({338: list(extra)} if extra else {}) | ({320: palette.ravel().tolist()} if kind == "palette" else {})
    base, body = 8 + 2 + 12 * (len(shorts) + 2) + 4, b""
    places = []
    for strip in strips:
        places.append(base + len(body))
        body += strip + bytes(len(strip) % 2)
    entries = {tag: ("H", values) for tag, values in shorts.items()}
    entries |= {273: ("I", places), 279: ("I", [len(strip) for strip in strips])}
    directory = struct.pack(f"{order}H", len(entries))
    for tag, (code, values) in sorted(entries.items()):
        data = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(data) > 4:
            data, body = struct.pack(f"{order}I", base + len(body)), body + data + bytes(len(data) % 2)
        directory += struct.pack(f"{order}HHI", tag, 3 if code == "H" else 4, len(values)) + data.ljust(4, b"\0")
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}I", 8) + directory + bytes(4) + body


def expected(kind, levels, samples, palette):
    """Return the image (height, width, 3) from 0 to 1 over white; *levels* are the samples from 0 to 1."""
    first, last, colors = levels[:, :, :1], levels[:, :, -1:], levels[:, :, :3]
    found = {
        "white is zero": 1 - first,
        "black is zero": first,
        "palette": palette[:, samples[:, :, 0] % palette.shape[1]].transpose(1, 2, 0) / 65535,
        "gray and alpha": first * last + 1 - last,
        "gray and premultiplied alpha": first + 1 - last,
        "rgb": colors,
        "rgb and another": colors,
        "rgb and alpha": colors * last + 1 - last,
        "rgb and premultiplied alpha": colors + 1 - last,
        "cmyk": (1 - colors) * (1 - last),
    }[kind]
    return np.broadcast_to(found, (*found.shape[:2], 3))


def drawn(draw, shape, bits, form):
    """Return random samples, the first of which is the highest, and that value: it says how white 32 bits are."""
    if form == FLOAT:
        samples, highest = draw.random(shape), 1.0
    else:
        highest = 2 ** (bits - (form == SIGNED)) - 1
        samples = draw.integers(0, highest, shape, np.uint64, endpoint=True)
    samples[0, 0] = highest
    return samples, float(highest or 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layout_of_tiff_decodes_right_or_is_unsupported(kind):
    draw = np.random.default_rng(5)
    count, _, _ = KINDS[kind]
    for layout in LAYOUTS:
        bits, form, order, fill, planar = layout
        has_to = (fill, planar) == (1, 1) and order == "<" and bits in RIGHT.get((kind, form), ())
        if (form == FLOAT and bits < 16) or (fill == 2 and bits > 8) or (kind == "palette" and bits > 8):
            continue
        samples, highest = drawn(draw, (6, 8, count), bits, form)
        if "premultiplied" in kind:
            samples = np.minimum(samples, samples[:, :, -1:])
        palette = draw.integers(0, 256, (3, 2 ** min(bits, 8))) * 257
        data = tiff(samples, kind, layout, palette)
        try:
            image = np.asarray(decode(data)) / 255
        except ImageError as error:
            assert error.reason == "unsupported", (layout, str(error))  # noqa: PT017 - most layouts are refused
            assert not has_to, layout
            continue
        wanted = expected(kind, samples.astype(float) / highest, samples.astype(int), palette)
        assert np.abs(image - wanted).max() < 0.03, layout
