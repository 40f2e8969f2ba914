"""The cast file: what is right is read, everything that is wrong is told at once with its entry."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from infra.errors import InputError
from tasks import cast_file
from tasks.cast_file import read_cast_file
from tasks.reference_pictures import looks_of_picture
from tests.two_people import faces

ANNA = '[[character]]\nname = "ANNA"\npictures = ["anna.jpg"]\n'


def written(folder: Path, text: str, name: str = "cast.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    assert cast_file.__doc__ is not None
    toml, _, rest = cast_file.__doc__.partition("    [[character]]")[2].partition("In JSON: ")
    anna, ben = read_cast_file(written(tmp_path, "[[character]]\n" + "\n".join(line.strip() for line in toml.splitlines())))
    assert (anna.name, anna.pictures, anna.tracks) == ("ANNA", ("anna-front.jpg", "anna-smiles.jpg"), {})
    assert (ben.name, ben.pictures, ben.tracks) == ("BEN", ("ben.png",), {3: (1,), 7: (0, 2)})
    (again,) = read_cast_file(written(tmp_path, rest.strip().rstrip("."), "cast.json"))
    assert (again.name, again.pictures, again.tracks) == ("ANNA", ("anna-front.jpg",), {3: (1,)})


def test_everything_that_is_wrong_is_told_at_once_with_its_entry(tmp_path: Path) -> None:
    text = ANNA + (
        '[[character]]\nname = "Anna"\npictures = ["../secret.jpg", "/etc/x.jpg"]\n'
        '[[character]]\nname = "BEN"\nphoto = "ben.jpg"\n'
        '[[character]]\npictures = ["x.jpg"]\n'
        '[[character]]\nname = "A=B"\ntracks = { 3 = "left", -1 = 0 }\n'
        '[[character]]\nname = "CLEO"\ntracks = { 3 = 1, 4 = [] }\n'
        '[[character]]\nname = "DAN"\ntracks = { 3 = 1 }\n'
        '[[character]]\nname = "EVE"\ntracks = { 3 = [0, 1] }\n'
    )
    with pytest.raises(InputError) as refusal:
        read_cast_file(written(tmp_path, text))
    said = str(refusal.value)
    for wrong in (
        "character 2 (Anna): picture '../secret.jpg'", "picture '/etc/x.jpg'", "character 3 (BEN): there is no key 'photo'",
        "character 3 (BEN): give at least one picture", "character 4: name", "character 5 (A=B): name", "character 5 (A=B): tracks.3",
        "character 6 (CLEO): tracks", "EVE: shot 3, face 1 is already DAN's",
    ):  # fmt: skip
        assert wrong in said, wrong


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("cast.toml", "[[character]\n", "is no TOML"),
        ("cast.json", "{", "is no JSON"),
        ("cast.json", "[" * 100_000, "is no JSON"),
        ("cast.json", "[1]", "named `character`"),
        ("cast.toml", "", "named `character`"),
        ("cast.toml", 'film = "x"\n' + ANNA, "nothing else"),
        ("cast.toml", "character = [3]\n", "character 1: it must be a table"),
        ("cast.toml", ANNA + ANNA.lower().replace("anna.jpg", "b.jpg"), "there is already a character ANNA"),
    ],
)
def test_what_is_no_cast_file_is_refused_with_the_reason(tmp_path: Path, name: str, text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_cast_file(written(tmp_path, text, name))


def test_a_cast_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_cast_file(tmp_path / "absent.toml")
    (tmp_path / "cast.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is no TOML"):
        read_cast_file(tmp_path / "cast.toml")


def picture(folder: Path, name: str, pixels: np.ndarray) -> Path:
    assert cv2.imwrite(str(folder / name), pixels)
    return folder / name


def test_a_face_is_found_in_a_portrait_and_in_a_close_cut_of_it(tmp_path: Path) -> None:
    anna, _ = faces()
    whole = looks_of_picture(picture(tmp_path, "whole.png", anna), "dlib", None)
    close = looks_of_picture(picture(tmp_path, "close.png", anna[60:190, 170:280]), "dlib", None)
    assert float(whole @ close) > 0.85


def test_a_picture_without_a_face_or_with_two_or_that_is_none_is_refused_with_the_reason(tmp_path: Path) -> None:
    for path, why in (
        (picture(tmp_path, "two.png", np.concatenate(faces(), axis=1)), "2 faces"),
        (picture(tmp_path, "none.png", np.full((300, 300, 3), 128, np.uint8)), "no face"),
        (written(tmp_path, "<html>", "page.jpg"), "no picture"),
        (written(tmp_path, "", "empty.jpg"), "no picture"),
        (tmp_path / "absent.jpg", "cannot be read"),
    ):
        with pytest.raises(InputError, match=why):
            looks_of_picture(path, "dlib", None)
