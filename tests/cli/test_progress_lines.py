"""The lines of a long job: how far it is, how fast it works, and how long it will take."""

import pytest
from fake_shop import FakeEncoder, Shop, index
from visrec_cli import progress

from vision_recs.jobs import IndexOptions
from vision_recs.jobs import index as run_index
from vision_recs.jobs.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """Return a function that lets seconds pass."""
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])

    def pass_(seconds):
        now[0] += seconds

    return pass_


def test_the_rate_is_that_of_what_took_work_from_the_start_on(clock, capsys):
    show = progress._Lines()
    show(Progress("embedding", 0, 1000))
    clock(9)
    show(Progress("embedding", 90, 1000, known=50))
    assert capsys.readouterr().err == ""
    clock(1)
    show(Progress("embedding", 100, 1000, known=50))
    assert capsys.readouterr().err == "embedding: 100 of 1,000 images, 5 a second, 90 s to go\n"
    clock(50)
    show(Progress("embedding", 1000, 1000, known=400))
    assert capsys.readouterr().err == "embedding: 1,000 of 1,000 images, 10 a second\n"


def test_what_was_done_before_the_first_report_has_no_rate(clock, capsys):
    show = progress._Lines()
    show(Progress("comparing", 500, 1000))
    clock(10)
    show(Progress("comparing", 500, 1000))
    clock(10)
    show(Progress("comparing", 600, 1000))
    assert capsys.readouterr().err.splitlines() == [
        "comparing: 500 of 1,000 images, 0 a second",
        "comparing: 600 of 1,000 images, 5 a second, 80 s to go",
    ]


def test_an_image_is_done_when_it_is_embedded_and_known_when_it_need_not_be(tmp_path):
    shop = Shop()
    for number in range(9):
        shop.put(f"item{number}", number)
    reports = []
    encoder = FakeEncoder()
    index(shop, tmp_path, encoder)
    for number in range(9, 14):
        shop.put(f"item{number}", number, 3)  # one that is known, and one that is not
    encode = encoder.encode

    def noted(pixels):
        reports.append("encoding")
        return encode(pixels)

    encoder.encode = noted
    run_index(shop, tmp_path, encoder=encoder, options=IndexOptions(batch_size=2), progress=reports.append)
    seen = [each for each in reports if each == "encoding" or each.stage == "embedding"]
    assert (seen[0].done, seen[0].known) == (0, 0)
    before = seen[: len(seen) - 1 - seen[::-1].index("encoding")]  # before the last batch was embedded
    assert all(each == "encoding" or each.done < each.total for each in before)
    last = seen[-1]
    assert (last.done, last.total, last.done - last.known) == (last.total, last.total, 5)
