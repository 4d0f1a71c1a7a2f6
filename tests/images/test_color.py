import struct
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL import __version__ as pillow_version

from vision_recs.images import canary_image, color, decode

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SRGB_COLORANTS = [(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)]
ADOBE_COLORANTS = [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)]


def colors(image):
    return np.asarray(image).astype(int)


def over_white(rgb, alpha):
    share = np.asarray(alpha, float)[..., None] / 255
    return np.rint(share * np.asarray(rgb, float) + (1 - share) * 255)


def fixed(*numbers):
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def profile(space, tags, *, device=b"mntr", connection=b"XYZ "):
    """ICC profile, version 2.1, by ICC.1:2001-04."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249), b"cprt": b"text\0\0\0\0none\0", **tags}
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content.ljust(-len(content) % 4 + len(content), b"\0")
    head = struct.pack(">I4sI4s4s4s12s4s", at + len(body), b"lcms", 0x02100000, device, space, connection, b"", b"acsp")
    return (head + b"\0" * 28 + fixed(0.9642, 1, 0.8249)).ljust(128, b"\0") + table + body


def curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def srgb_table():
    """The curve of sRGB as 1,024 points, as the profile of 1998 that most images carry has it."""
    level = np.linspace(0, 1, 1024)
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + np.rint(linear * 65535).astype(">u2").tobytes()


def rgb_profile(colorants, tone=None):
    tone = tone or curve(2.2)
    tags = {
        name + b"XYZ": b"XYZ \0\0\0\0" + fixed(*xyz) for name, xyz in zip((b"r", b"g", b"b"), colorants, strict=True)
    }
    return profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tone))


def cmyk_profile():
    """A press whose cyan is a dark green: a table of 16 corners, in Lab."""
    corners = []
    for corner in range(16):
        c, m, y, k = (corner >> shift & 1 for shift in (3, 2, 1, 0))
        lightness = 100 * (1 - 0.5 * c) * (1 - 0.3 * m) * (1 - 0.1 * y) * (1 - 0.95 * k)
        corners += [round(lightness * 2.55), 128 - 50 * c + 60 * m, 128 + 20 * c + 70 * y]
    ramp = bytes(range(256))
    head = struct.pack(">4sIBBBx", b"mft1", 0, 4, 3, 2) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table = head + ramp * 4 + bytes(corners) + ramp * 3
    return profile(b"CMYK", {b"A2B0": table}, device=b"prtr", connection=b"Lab ")


def by_littlecms(image, icc):
    return ImageCms.profileToProfile(image, BytesIO(icc), ImageCms.createProfile("sRGB"), outputMode="RGB")


# Alpha


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})])
def test_a_transparent_image_lies_on_white(encode, form, options):
    alpha = np.tile(np.linspace(0, 255, 320).astype(np.uint8), (240, 1))
    image = canary_image()
    image.putalpha(Image.fromarray(alpha))
    assert np.array_equal(colors(decode(encode(image, form, **options))), over_white(canary_image(), alpha))


def test_a_transparent_grey_image_lies_on_white(encode):
    grey, alpha = (Image.fromarray(np.add.outer(np.arange(64), step).astype(np.uint8)) for step in ([0, 80], [9, 190]))
    expected = over_white(grey.convert("RGB"), alpha)
    for form in ("PNG", "TIFF"):
        assert np.array_equal(colors(decode(encode(Image.merge("LA", [grey, alpha]), form))), expected)


def test_each_entry_of_a_palette_has_its_own_alpha(encode):
    drawn = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    drawn.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    image = decode(encode(drawn, "PNG", transparency=bytes([0, 100, 255])))
    assert np.array_equal(colors(image), over_white([[(200, 0, 0), (0, 200, 0), (0, 0, 200)]], [[0, 100, 255]]))


def test_the_transparent_color_of_a_gif_is_white(encode):
    drawn = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    drawn.putpalette([200, 0, 0, 0, 0, 200])
    image = decode(encode(drawn, "GIF", transparency=1))
    assert colors(image).tolist() == [[[200, 0, 0], [255] * 3], [[255] * 3, [200, 0, 0]]]


def test_premultiplied_alpha_is_not_multiplied_twice(tiff):
    strip = bytes([64, 0, 32, 128, 0, 0, 0, 0, 10, 20, 30, 255])
    image = decode(tiff(strip, (3, 1), bits=[8] * 4, photometric=2, extra=1))
    expected = [(64 + 127, 127, 32 + 127), (255, 255, 255), (10, 20, 30)]
    assert np.abs(colors(image)[0] - expected).max() <= 1


@pytest.mark.skipif(int(pillow_version.split(".")[0]) < 13, reason="Pillow opens such images from version 13 on")
def test_premultiplied_grey_is_not_multiplied_twice(tiff):
    image = decode(tiff(bytes([64, 128, 10, 255]), (2, 1), bits=[8] * 2, photometric=1, extra=1))
    assert np.abs(colors(image)[0] - [[191] * 3, [10] * 3]).max() <= 1


@pytest.mark.parametrize(
    ("kind", "row", "key", "expected"),
    [
        ((1, 0), [0b01000000], [1], [0, 255]),
        ((2, 0), [0b01100000], [1], [255, 170]),
        ((4, 0), [0x3F], [15], [51, 255]),
        ((8, 0), [3, 200], [3], [255, 200]),
        ((16, 0), [0x03, 0x45, 0x80, 0x00], [0x0345], [255, 128]),
        ((16, 2), [1, 9, 1, 9, 1, 9, 7, 0, 7, 0, 7, 0], [0x0109] * 3, [255, 7]),
        ((8, 2), [1, 1, 1, 7, 7, 7], [1, 1, 1], [255, 7]),
    ],
)
def test_a_png_may_name_one_value_transparent(png, kind, row, key, expected):
    chunk = (b"tRNS", struct.pack(f">{len(key)}H", *key))
    bits, color_type = kind
    image = decode(png([bytes(row)], 2, bits=bits, color_type=color_type, chunks=[chunk]))
    assert colors(image)[0].tolist() == [[level] * 3 for level in expected]


# Grey, deep, palette


def test_an_image_of_one_bit_is_black_and_white(encode):
    image = Image.fromarray(np.array([[True, False, True]]))
    for form, options in (("PNG", {}), ("TIFF", {"compression": "group4"}), ("BMP", {})):
        assert colors(decode(encode(image, form, **options)))[0, :, 0].tolist() == [255, 0, 255]


def test_a_palette_gives_its_colors(encode):
    image = canary_image().quantize(100)
    for form in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(colors(decode(encode(image, form))), colors(image.convert("RGB")))


@pytest.mark.parametrize(("form", "kind"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("TIFF", "<i4")])
def test_sixteen_bits_are_scaled_not_clipped(encode, form, kind):
    values = np.arange(0, 65536, 13)
    data = encode(Image.fromarray(values.astype(kind)[None]), form)
    assert np.array_equal(colors(decode(data))[0, :, 1], np.rint(values / 257))


def test_sixteen_bits_of_color_keep_their_high_byte(png):
    values = np.arange(0, 65536, 1001, dtype=">u2")
    image = decode(png([np.repeat(values, 3).tobytes()], len(values), bits=16, color_type=2))
    assert np.abs(colors(image)[0] - values[:, None] / 257).max() <= 1


def test_a_scan_of_twelve_bits_is_not_black(tiff):
    strip = bytes([0xFF, 0xF8, 0x00])  # 4095 and 2048
    image = decode(tiff(strip, (2, 1), bits=[12], photometric=1))
    assert colors(image)[0, :, 0].tolist() == [255, 128]


def test_sixteen_bits_in_which_zero_is_white_are_inverted(tiff):
    image = decode(tiff(np.array([0, 65535], "<u2").tobytes(), (2, 1), bits=[16], photometric=0))
    assert colors(image)[0, :, 0].tolist() == [255, 0]


def test_thirty_two_bits_span_what_they_hold(tiff):
    image = decode(tiff(np.array([0, 2**31, 2**32 - 1], "<u4").tobytes(), (3, 1), bits=[32], photometric=1))
    assert colors(image)[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0, 1e9])
def test_floats_are_scaled_by_the_white_they_reach(encode, white):
    shares = np.linspace(0, 1, 86, dtype=np.float32)
    image = decode(encode(Image.fromarray((shares * np.float32(white))[None]), "TIFF"))
    assert np.abs(colors(image)[0, :, 0] - shares * 255).max() <= 0.51


def test_floats_that_overshoot_or_are_no_numbers_are_clipped(encode):
    values = np.array([[-0.1, np.nan, 0.5, 1.2, -np.inf]], np.float32)
    assert colors(decode(encode(Image.fromarray(values), "TIFF")))[0, :, 0].tolist() == [0, 0, 128, 255, 0]


def test_floats_with_infinity_keep_the_others(encode):
    values = np.array([[0.0, 1.0, np.inf]], np.float32)
    assert colors(decode(encode(Image.fromarray(values), "TIFF")))[0, :, 0].tolist() == [0, 255, 255]


def test_a_black_image_of_floats_is_black(encode):
    assert not colors(decode(encode(Image.new("F", (4, 4)), "TIFF"))).any()


# CMYK, YCCK, LAB


def ink_over_paper(cmyk):
    inks = np.asarray(cmyk, float)
    return (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255


def cmyk_patches():
    patches = np.zeros((16, 64, 4), np.uint8)
    for at, ink in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 40, 0), (30, 60, 90, 120)]):
        patches[:, at * 16 : at * 16 + 16] = ink
    return Image.frombytes("CMYK", (64, 16), patches.tobytes())


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile_is_ink_over_white_paper(encode, form):
    options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    image = decode(encode(cmyk_patches(), form, **options))
    assert np.abs(colors(image) - ink_over_paper(cmyk_patches())).max() <= 4


def test_ycck_as_photoshop_writes_it_is_read_as_cmyk(encode):
    inks = np.asarray(cmyk_patches())
    ycc = np.asarray(Image.fromarray(np.ascontiguousarray(inks[..., :3])).convert("YCbCr"))
    planes = np.concatenate([255 - ycc, inks[..., 3:]], axis=-1)  # Pillow stores 255 minus these
    data = encode(Image.frombytes("CMYK", (64, 16), planes.tobytes()), "JPEG", quality=100, subsampling=0)
    transform = data.index(b"Adobe") + 11  # the byte that says which: 0 is CMYK, 2 is YCCK
    assert data[transform] == 0
    image = decode(data[:transform] + b"\x02" + data[transform + 1 :])
    assert np.abs(colors(image) - ink_over_paper(inks)).max() <= 6


def test_lab_is_converted_to_srgb(encode):
    lab = canary_image().convert("LAB")
    assert np.abs(colors(decode(encode(lab, "TIFF"))) - colors(canary_image())).mean() < 1.5
    patch = Image.frombytes("LAB", (2, 1), bytes([255, 0, 0, 136, 80, 67]))  # white; the red of sRGB
    assert np.abs(colors(decode(encode(patch, "TIFF")))[0] - [(255, 255, 255), (255, 0, 0)]).max() <= 12


# Profiles


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_colors_of_another_space_become_srgb(encode, form):
    icc = rgb_profile(ADOBE_COLORANTS)
    image = decode(encode(canary_image(), form, icc_profile=icc, lossless=True))
    assert image.tobytes() == by_littlecms(canary_image(), icc).tobytes()
    assert np.abs(colors(image) - colors(canary_image())).max() > 20


def test_a_profile_is_applied_to_jpeg_and_avif(encode):
    icc = rgb_profile(SRGB_COLORANTS[::-1])  # red is blue
    image = Image.new("RGB", (16, 16), (200, 40, 90))
    for form in ("JPEG", "AVIF"):
        swapped = decode(encode(image, form, icc_profile=icc)).getpixel((8, 8))
        assert np.abs(np.subtract(swapped, (90, 40, 200))).max() <= 8


def test_srgb_by_any_name_changes_no_pixel(encode):
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    swatches = Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3))
    almost = rgb_profile([(0.4358, 0.2224, 0.0139), (0.3853, 0.7170, 0.0971), (0.1430, 0.0606, 0.7139)], srgb_table())
    assert by_littlecms(swatches, almost).tobytes() != swatches.tobytes()
    for icc in (SRGB, almost):
        assert decode(encode(swatches, "PNG", icc_profile=icc)).tobytes() == swatches.tobytes()
    gamma = rgb_profile(SRGB_COLORANTS, curve(2.2))
    assert decode(encode(swatches, "PNG", icc_profile=gamma)).tobytes() == by_littlecms(swatches, gamma).tobytes()


def test_colors_are_converted_before_they_lie_on_white(encode):
    icc = rgb_profile(ADOBE_COLORANTS)
    image = Image.new("RGBA", (2, 2), (200, 40, 90, 51))
    converted = by_littlecms(image.convert("RGB"), icc)
    expected = over_white(converted, np.full((2, 2), 51))
    assert np.array_equal(colors(decode(encode(image, "PNG", icc_profile=icc))), expected)


def test_a_palette_is_converted_by_its_profile(encode):
    icc = rgb_profile(ADOBE_COLORANTS)
    image = canary_image().quantize(50)
    expected = by_littlecms(image.convert("RGB"), icc)
    assert decode(encode(image, "PNG", icc_profile=icc)).tobytes() == expected.tobytes()


def test_several_threads_share_one_transform(encode):
    data = encode(canary_image(), "PNG", icc_profile=rgb_profile(ADOBE_COLORANTS))
    alone = decode(data).tobytes()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: decode(data).tobytes(), range(40))) == {alone}


def test_a_grey_profile_is_applied_by_its_curve(encode):
    linear = (np.arange(256) / 255) ** 1.8
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    icc = profile(b"GRAY", {b"kTRC": curve(1.8)})
    image = decode(encode(Image.fromarray(np.arange(256, dtype=np.uint8)[None]), "PNG", icc_profile=icc))
    assert np.abs(colors(image)[0] - expected[:, None]).max() <= 1


def test_a_grey_image_may_carry_a_color_profile(encode):
    icc = rgb_profile(SRGB_COLORANTS, tone=curve(1.0))
    grey = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    expected = by_littlecms(grey.convert("RGB"), icc)
    assert decode(encode(grey, "PNG", icc_profile=icc)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_a_press_profile_decides_what_cmyk_looks_like(encode, form):
    options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    image = decode(encode(cmyk_patches(), form, icc_profile=cmyk_profile(), **options))
    expected = colors(by_littlecms(cmyk_patches(), cmyk_profile()))
    assert np.abs(colors(image) - expected).max() <= 4
    assert expected[0, 0].tolist() == [255, 255, 255]
    red, green, blue = expected[0, 20]
    assert green > red + 30
    assert green > blue + 30


@pytest.mark.parametrize(
    "icc",
    [
        b"no profile at all",
        rgb_profile(ADOBE_COLORANTS)[:200],
        b"\0" * 200,
        cmyk_profile(),
        profile(b"GRAY", {b"kTRC": curve(1.0)}),
        rgb_profile(ADOBE_COLORANTS).ljust(5 * 2**20, b"\0"),
    ],
    ids=["text", "cut", "zeros", "for CMYK", "for grey", "huge"],
)
def test_a_profile_that_is_broken_or_for_other_images_is_ignored(encode, icc):
    data = encode(canary_image(), "TIFF", icc_profile=icc)
    assert decode(data).tobytes() == canary_image().tobytes()


# Large images are converted tile by tile


@pytest.mark.parametrize("pixels", [7, 24, 100])
def test_tiles_give_the_image_that_one_piece_gives(every_kind, encode, monkeypatch, pixels):
    deep = np.geomspace(0.001, 40_000, 16 * 24, dtype=np.float32).reshape(
        16, 24
    )  # what white is shows in the last tile only
    kinds = {
        **every_kind,
        "float": encode(Image.fromarray(deep), "TIFF"),
        "adobe-alpha": encode(canary_image().convert("RGBA"), "PNG", icc_profile=rgb_profile(ADOBE_COLORANTS)),
        "gray-alpha": encode(canary_image().convert("LA"), "PNG"),
        "cmyk": encode(cmyk_patches(), "TIFF", icc_profile=cmyk_profile()),
    }
    expected = {name: decode(data).tobytes() for name, data in kinds.items()}
    monkeypatch.setattr(color, "_TILE_PIXELS", pixels)
    assert {name: decode(data).tobytes() for name, data in kinds.items()} == expected
