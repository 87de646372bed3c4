"""Data from folders, archives, idx files and names, against arrays written down here."""

import gzip
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.config import Config
from models.datasets import load, load_vectors, toy
from models.errors import DataError, ModelError, NoGroups, UnknownName
from models.training.loop import read_data
from serving.images import ImageSpec

GREY = ImageSpec(height=8, width=8, channels=1)


def pixels(seed: int, shape: tuple[int, ...] = (8, 8)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed)).save(path)


def pack(folder: Path, archive: Path, top: str = "") -> None:
    with zipfile.ZipFile(archive, "w") as file:
        for member in sorted(folder.rglob("*")):
            if member.is_file():
                file.write(member, top + member.relative_to(folder).as_posix())


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two classes, three good images, three bad files, and files that are no images by name."""
    root = tmp_path / "things"
    write(root / "cat/1.png", 1)
    write(root / "cat/2.png", 2)
    write(root / "dog/1.bmp", 3)
    (root / "dog/text.png").write_text("no image")
    (root / "dog/empty.jpg").write_bytes(b"")
    whole = (root / "cat/1.png").read_bytes()
    (root / "cat/cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "notes.txt").write_text("not read")
    (root / ".hidden.png").write_text("not read")
    return root


def expect_classes(source: str) -> None:
    data = load(source, GREY)
    assert data.images.shape == (3, 8, 8, 1)
    for row, seed in enumerate((1, 2, 3)):
        np.testing.assert_array_equal(data.images[row, ..., 0], pixels(seed))
    assert data.classes == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert [s.name for s in data.skipped] == ["cat/cut.png", "dog/empty.jpg", "dog/text.png"]
    assert all(s.reason for s in data.skipped)


def test_a_folder_gives_its_classes_and_names_what_it_skips(classes: Path) -> None:
    expect_classes(str(classes))


def test_a_zip_reads_as_the_folder_it_holds(classes: Path, tmp_path: Path) -> None:
    for top in ("", "things/"):
        archive = tmp_path / f"a{len(top)}.zip"
        pack(classes, archive, top)
        expect_classes(str(archive))


def test_a_damaged_member_of_a_zip_is_skipped(classes: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    pack(classes, archive)
    raw = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as file:
        info = file.getinfo("cat/2.png")
    raw[info.header_offset + 30 + len(info.filename) + 20] ^= 0xFF  # the checksum no longer fits
    archive.write_bytes(raw)
    data = load(str(archive), GREY)
    assert len(data) == 2
    assert "cat/2.png" in [s.name for s in data.skipped]


def test_nothing_readable_is_an_error_that_names_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(DataError, match=r"no image in .* can be read \(a\.png: "):
        load(str(tmp_path), GREY)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="holds no images"):
        load(str(tmp_path), GREY)


def test_the_mvtec_layout_keeps_parts_apart_and_masks_out(tmp_path: Path) -> None:
    for seed, name in enumerate(
        ("train/good/1", "train/good/2", "test/good/3", "test/crack/4", "ground_truth/crack/4_mask")
    ):
        write(tmp_path / f"{name}.png", seed)
    train, test = load(str(tmp_path), GREY), load(str(tmp_path), GREY, split="test")
    assert (len(train), train.classes) == (2, ("good",))
    assert (len(test), test.classes) == (2, ("crack", "good"))
    np.testing.assert_array_equal(test.images[0, ..., 0], pixels(3))


def test_a_folder_without_parts_has_no_test_part(classes: Path) -> None:
    with pytest.raises(DataError, match="no test part"):
        load(str(classes), GREY, split="test")


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 8, 8, 1)])
def test_npz_arrays(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = pixels(1, shape)
    np.savez(
        tmp_path / "a.npz",
        train_images=images,
        test_images=images[:2],
        test_label=np.array(["b", "a"]),
    )
    train = load(str(tmp_path / "a.npz"), GREY)
    test = load(str(tmp_path / "a.npz"), GREY, split="test")
    np.testing.assert_array_equal(train.images, images.reshape(5, 8, 8, 1))
    assert train.labels is None
    assert test.labels is not None
    assert (test.labels.tolist(), test.classes) == ([1, 0], ("a", "b"))


def idx(array: NDArray[np.uint8]) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def test_idx_files_and_folders(tmp_path: Path) -> None:
    images, labels = pixels(1, (6, 8, 8)), np.array([3, 3, 7, 7, 7, 3], np.uint8)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(images[:2]))
    train = load(str(tmp_path), GREY)
    file = load(str(tmp_path / "train-images-idx3-ubyte.gz"), GREY)
    test = load(str(tmp_path), GREY, split="test")
    np.testing.assert_array_equal(train.images[..., 0], images)
    np.testing.assert_array_equal(file.images, train.images)
    np.testing.assert_array_equal(test.images[..., 0], images[:2])
    assert train.classes == ("3", "7")
    assert train.labels is not None
    assert train.labels.tolist() == [0, 0, 1, 1, 1, 0]
    assert test.labels is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0\0\x0d\x01\0\0\0\x01a",
        b"\0\0\x08\x03\0\0\0\x02\0\0\0\x08\0\0\0\x08abc",
        b"\x1f\x8bno",
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "images-idx3-ubyte"
    file.write_bytes(raw)
    with pytest.raises(DataError, match="images-idx3-ubyte"):
        load(str(file), GREY)


def test_small_images_are_padded_as_they_are_served() -> None:
    spec = ImageSpec(height=32, width=32, channels=1, fit="pad", background=7)
    data = load("digits", spec, limit=3)
    assert data.images.shape == (3, 32, 32, 1)
    assert (data.images[:, :12] == 7).all()
    assert (data.images[:, :, 20:] == 7).all()
    assert data.images[:, 12:20, 12:20].max() == 255  # sixteen sixteenths


def test_toy_densities_have_their_modes() -> None:
    ring, grid = toy.load("ring"), toy.load("grid")
    assert ring.labels is not None
    assert np.bincount(ring.labels).min() > 5_900
    for label in range(8):
        points = ring.images[ring.labels == label]
        angle = label * np.pi / 4
        assert points.mean(0) == pytest.approx([np.cos(angle), np.sin(angle)], abs=1e-3)
        assert points.std(0) == pytest.approx(0.01, rel=0.05)
    assert len(grid.classes) == 25
    assert np.unique(grid.images.round(), axis=0).tolist() == [
        [x, y] for x in range(-2, 3) for y in range(-2, 3)
    ]


def test_vectors_must_fit_the_model() -> None:
    assert load_vectors("toy:ring", limit=10).images.shape == (10, 2)
    model = {"pairing": "bigan", "network": "mlp", "vector": 3, "latent": 1}
    with pytest.raises(DataError, match="vectors of 2, the model takes 3"):
        read_data(Config.from_dict({"data": {"path": "toy:ring"}, "model": model}))
    with pytest.raises(UnknownName, match="double-ring, grid, heavy-centre, ring, swiss-roll"):
        load_vectors("toy:spiral")


@pytest.mark.parametrize(
    ("path", "why"),
    [("nowhere", "no data at"), ("toy:ring", r"model\.vector"), ("pyproject.toml", ".zip")],
)
def test_what_is_no_image_data_is_refused(path: str, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        load(path, GREY)


def test_selecting_items(classes: Path) -> None:
    dogs = load(str(classes), GREY, classes=["dog"])
    assert (len(dogs), dogs.classes) == (1, ("dog",))
    assert dogs.labels is not None
    assert dogs.labels.tolist() == [0]
    with pytest.raises(UnknownName, match="cat, dog"):
        load(str(classes), GREY, classes=["bird"])


def test_held_out_items_are_never_trained_on() -> None:
    data = load("digits", GREY)
    kept, held = data.held_out(0.1, seed=3)
    again, other = data.held_out(0.1, seed=3)[1], data.held_out(0.1, seed=4)[1]
    assert (len(kept), len(held)) == (1617, 180)
    both = np.concatenate([kept.images, held.images]).reshape(1797, -1)
    everything = data.images.reshape(1797, -1)
    assert sorted(map(bytes, both)) == sorted(map(bytes, everything))
    assert held.fingerprint() == again.fingerprint()
    assert held.fingerprint() != other.fingerprint()


def families(path: Path, **arrays: NDArray[Any]) -> Path:
    """Ten images of four families: 1, 2, 3 and 4 of them, shuffled; each image is its number."""
    images = np.arange(10, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2)
    every: dict[str, Any] = {"images": images, "base": np.array(list("dcdbdcbdca")), **arrays}
    np.savez(path, **every)
    return path


def test_no_family_is_on_both_sides(tmp_path: Path) -> None:
    data = load(str(families(tmp_path / "f.npz")), GREY, group="base")
    sizes = set()
    for seed in range(40):
        kept, held = (part.images[:, 0, 0, 0].tolist() for part in data.held_out(0.3, seed=seed))
        assert sorted(kept + held) == list(range(10))
        assert {"dcdbdcbdca"[i] for i in kept}.isdisjoint({"dcdbdcbdca"[i] for i in held})
        assert kept == sorted(kept)
        assert held == sorted(held)
        sizes.add(len(held))
        assert held == data.held_out(0.3, seed=seed)[1].images[:, 0, 0, 0].tolist()
    # the first of 1, 2, 3 and 4 in some order: d; c; b, a or b alone; a, c or, for want of 2, a
    assert sizes == {1, 2, 3, 4}
    assert len(data.held_out(0.0, seed=0)[1]) == 0
    alone = load(str(tmp_path / "f.npz"), GREY)
    assert alone.groups is None
    assert len(alone.held_out(0.3, seed=0)[1]) == 3
    assert alone.fingerprint() != data.fingerprint()  # another split, so other data


def test_families_of_chosen_items(tmp_path: Path) -> None:
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    path = str(families(tmp_path / "f.npz", labels=labels, test_images=np.zeros((2, 8, 8), "u1")))
    chosen = load(path, GREY, classes=["1"], limit=3, group="base")
    assert chosen.images[:, 0, 0, 0].tolist() == [5, 7, 9]
    assert chosen.groups is not None
    assert chosen.groups.tolist() == [2, 3, 0]  # c, d, a
    assert load(path, GREY, split="test", group="base").groups is None


def test_data_without_the_families_asked_for(tmp_path: Path, classes: Path) -> None:
    path = str(families(tmp_path / "f.npz", short=np.zeros(9)))
    with pytest.raises(NoGroups, match="no groups 'kin': it holds images, base, short"):
        load(path, GREY, group="kin")
    with pytest.raises(DataError, match=r"has groups \[9\] for 10 images"):
        load(path, GREY, group="short")
    for other in (str(classes), "digits"):
        with pytest.raises(NoGroups, match=r"only an \.npz"):
            load(other, GREY, group="base")


def test_a_zip_made_on_a_mac_has_its_parts(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    write(root / "train/a/1.png", 1)
    write(root / "test/a/2.png", 2)
    archive = tmp_path / "a.zip"
    pack(root, archive, "photos/")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/photos/train/a/._1.png", b"resource fork")
        file.writestr("photos/.DS_Store.png", b"hidden")
    for split, seed in (("train", 1), ("test", 2)):
        data = load(str(archive), GREY, split=split)  # type: ignore[arg-type]  # a plain str here
        assert data.classes == ("a",)
        np.testing.assert_array_equal(data.images[..., 0], pixels(seed)[None])
        assert not data.skipped


def test_a_limit_leaves_the_rest_undecoded(classes: Path) -> None:
    seen: list[tuple[int, int]] = []
    data = load(
        str(classes), GREY, limit=2, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 2), (2, 2)]
    assert data.labels is not None
    only = load(str(classes), GREY, classes=["dog"], limit=1)
    assert (len(only), only.skipped) == (1, ())


def test_a_limit_is_spread_over_sorted_classes(tmp_path: Path) -> None:
    labels = np.array([4] * 5 + [9] * 5)
    np.savez(tmp_path / "a.npz", images=pixels(1, (10, 8, 8)), labels=labels)
    data = load(str(tmp_path / "a.npz"), GREY, limit=4)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(data.images[..., 0], pixels(1, (10, 8, 8))[[0, 3, 6, 9]])


def test_labels_may_stand_in_a_column(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=pixels(1, (3, 8, 8)), labels=np.array([[7], [5], [7]]))
    data = load(str(tmp_path / "a.npz"), GREY)
    assert data.labels is not None
    assert (data.labels.tolist(), data.classes) == ([1, 0, 1], ("5", "7"))


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"images": pixels(1, (3, 8, 8)), "labels": np.array(3)}, r"labels \[\] for 3"),
        ({"images": pixels(1, (3, 8, 8)), "labels": np.zeros((3, 2))}, r"labels \[3, 2\]"),
        ({"images": pixels(1, (3, 8, 8)), "labels": np.zeros(4)}, r"labels \[4\] for 3"),
        ({"images": pixels(1, (3, 8, 8, 2))}, "does not fit the model"),
        ({"images": pixels(1, (3, 0, 8))}, "must hold uint8"),
        ({"images": np.zeros((3, 8, 8))}, "must hold uint8"),
        ({"pictures": pixels(1, (3, 8, 8))}, "holds pictures"),
    ],
)
def test_arrays_that_are_no_images_are_refused(
    tmp_path: Path, arrays: dict[str, NDArray[np.generic]], why: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]  # numpy types only positions
    with pytest.raises(DataError, match=why):
        load(str(tmp_path / "a.npz"), GREY)
