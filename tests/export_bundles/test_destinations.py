"""Names and versions from paths, and folders that are whole or absent."""

import os
from pathlib import Path

import pytest

from export.destination import destination, whole_folder
from export.errors import BadOutput


def test_name_and_version_are_the_last_two_parts(tmp_path: Path) -> None:
    place = destination(tmp_path / "my-models" / "digits" / "12")
    assert (place.name, place.version) == ("digits", 12)
    assert place.path == tmp_path / "my-models" / "digits" / "12"


def test_a_relative_path_counts_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faces").mkdir()
    monkeypatch.chdir(tmp_path / "faces")
    assert destination(Path("3")).name == "faces"
    assert destination(Path("../other/4")).name == "other"


def test_options_name_a_bundle_whose_path_does_not(tmp_path: Path) -> None:
    place = destination(tmp_path / "anywhere", name="faces", version=3)
    assert (place.name, place.version) == ("faces", 3)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("digits", {}, "does not end in NAME/VERSION"),
        ("digits/0", {}, "does not end in NAME/VERSION"),
        ("digits/01", {}, "does not end in NAME/VERSION"),
        ("digits/v1", {"name": "digits"}, "does not end in NAME/VERSION"),
        ("Digits/1", {}, "'Digits' is none"),
        ("-x/1", {}, "'-x' is none"),
        ("default/1", {}, "'default' is reserved"),
        ("digits/1", {"name": "faces"}, "they must be equal"),
        ("digits/1", {"version": 2}, "they must be equal"),
        ("there", {"name": "a", "version": 1}, "exists"),
        ("link", {"name": "a", "version": 1}, "exists"),
    ],
)
def test_what_cannot_be_a_bundle_is_refused(
    tmp_path: Path, path: str, options: dict[str, object], message: str
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(BadOutput, match=message):
        destination(tmp_path / path, **options)  # type: ignore[arg-type]


def test_a_folder_appears_whole_with_usual_permissions(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    (tmp_path / "usual").mkdir()
    with whole_folder(target) as folder:
        (folder / "file").write_text("whole")
        assert folder.parent == target.parent
        assert not target.exists()
    assert os.listdir(target.parent) == ["b"]
    assert (target / "file").read_text() == "whole"
    assert target.stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_exception(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), whole_folder(tmp_path / "a" / "b" / "1") as folder:  # noqa: PT012
        (folder / "file").write_text("half")
        raise error
    assert os.listdir(tmp_path) == []


def test_parents_that_others_use_stay(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), whole_folder(tmp_path / "a" / "1"):  # noqa: PT012
        (tmp_path / "a" / "2").mkdir()
        raise ValueError("x")
    assert os.listdir(tmp_path / "a") == ["2"]


def test_one_that_came_first_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="meantime"), whole_folder(tmp_path / "1"):
        (tmp_path / "1").mkdir()
    assert os.listdir(tmp_path) == ["1"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadOutput, match="cannot be written"), whole_folder(tmp_path / "file" / "1"):
        pass
