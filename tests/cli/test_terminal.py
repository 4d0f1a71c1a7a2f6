"""What a shop's data holds cannot control the terminal of whoever runs the program."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_shop import Shop, image, index
from terminal import on_a_terminal
from visrec_cli.terminal import json_line, lines, one_line

PROGRAM = Path(sys.executable).parent / "visrec"
HOSTILE = "a\x1b[2Jb\r\nc\x9b31md\u202ee\u2028f\x07"
SHOWN = r"a\x1b[2Jb\r\nc\x9b31md\u202ee\u2028f\x07"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three items whose ids, titles, labels and image names, and whose skipped image, are hostile; two look alike."""
    shop = Shop()
    for number, seed in enumerate((1, 1, 2)):
        name = f"{number}{HOSTILE}.png"
        shop.files[name] = image(seed)
        shop.put(f"{number}{HOSTILE}", name, title=HOSTILE, **{HOSTILE: HOSTILE})
    shop.put(f"4{HOSTILE}", f"none{HOSTILE}.png")
    folder = tmp_path_factory.mktemp("terminal") / "store"
    index(shop, folder)
    return folder


@pytest.fixture
def run_on_a_terminal(forked_program):
    """Return the status of the program, and what it writes to a terminal that is stdout and stderr."""
    environment = {**os.environ, "COLUMNS": "1000", "TERM": "xterm"}

    def run(*arguments, cwd):
        status, written = on_a_terminal(
            lambda device: forked_program.run_with_streams(arguments, cwd, environment, out=device, err=device)
        )
        return status, written.decode().replace("\r\n", "\n")

    return run


ITEM = f"0{HOSTILE}"
COMMANDS = {
    "similar": (["similar", ITEM, "--explain"], 0),
    "an unknown item": (["similar", f"3{HOSTILE}"], 1),
    "a skipped image": (["similar", f"4{HOSTILE}"], 1),
    "an unknown attribute": (["similar", "x", "--where", "color == 3"], 1),
    "duplicates": (["duplicates", "--quiet", "--threshold", "0.99"], 0),
    "relevance": (["evaluate", "--labels", HOSTILE, "--quiet"], 0),
    "info": (["info"], 0),
    "verify": (["verify"], 0),
}


@pytest.mark.parametrize(("arguments", "status"), COMMANDS.values(), ids=COMMANDS)
def test_no_command_lets_data_control_the_terminal(run_on_a_terminal, arguments, status, store):
    found, written = run_on_a_terminal(*arguments, "--store", "store", cwd=store.parent)
    assert found == status, written
    assert not set(written) & set(HOSTILE) - set("abcdef[2J31m\n"), written
    if HOSTILE in "".join(arguments):
        assert SHOWN in written  # on one line


def test_json_says_what_is_there_in_characters_that_do_nothing(run_on_a_terminal, store):
    arguments = ["similar", ITEM, "--json", "--store", "store"]
    status, written = run_on_a_terminal(*arguments, cwd=store.parent)
    matches = [json.loads(line) for line in written.splitlines()]
    assert (status, [match["id"] for match in matches]) == (0, [f"1{HOSTILE}", f"2{HOSTILE}"])
    assert matches[0]["attributes"] == {"title": HOSTILE, HOSTILE: HOSTILE}
    assert not set(written) & set(HOSTILE) - set("abcdef[2J31m\n")
    piped = subprocess.run([PROGRAM, *arguments], cwd=store.parent, capture_output=True, check=True).stdout
    assert piped.decode() == written


def test_what_a_damaged_file_holds_does_not_control_the_terminal_either(run_on_a_terminal, store, tmp_path):
    history = tmp_path / "history.jsonl"
    history.write_text(json.dumps({"id": "a", "\x1b[2J\u202e": 1}, ensure_ascii=False), "utf-8")
    status, written = run_on_a_terminal("similar", "--history", str(history), "--store", "store", cwd=store.parent)
    assert (status, "\x1b" in written, "\u202e" in written, written.count("\n")) == (1, False, False, 1)


def test_a_catalog_does_not_either(run_on_a_terminal, tmp_path):
    (tmp_path / "catalog.csv").write_text(f'"{HOSTILE}","{HOSTILE}2"\n1,2\n', "utf-8")
    status, written = run_on_a_terminal("index", "catalog.csv", "--store", "store", "--quiet", cwd=tmp_path)
    assert (status, set(written) & set("\x1b\x9b\u202e\u2028\x07\r"), written.count("\n")) == (1, set(), 1), written


def test_text_in_any_script_stays_as_it_is():
    for text in ("", "Tasse, blau", "Ąžuolas", "マグ", "👩‍🚀", "\u200fكوب"):
        assert one_line(text) == lines(text) == json_line(text) == text


def test_every_character_that_controls_a_terminal_is_shown():
    for code in (*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)):
        text = f"a{chr(code)}b"
        assert one_line(text).isprintable()
        assert one_line(text) == "a" + repr(chr(code))[1:-1] + "b"
        assert lines(text) == (text if code in (9, 10) else one_line(text))
        assert json.loads(json_line(json.dumps(text, ensure_ascii=False))) == text
        assert json_line(json.dumps(text, ensure_ascii=False)).isprintable()
