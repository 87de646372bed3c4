"""A bundle opens whole or not at all, and a model folder shows what is in it."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oracle import make_oracle
from serving.bundle import Bundle, find_bundles, read, sha256_of
from serving.errors import BundleError
from serving.images import ImageSpec


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that may be damaged; it has a weights.bin that is listed, as an exported one has."""
    path = make_oracle(tmp_path)
    (path / "weights.bin").write_bytes(bytes(range(256)))
    digest = hashlib.sha256(bytes(range(256))).hexdigest()
    change(
        path, lambda manifest: manifest.update(weights={"file": "weights.bin", "sha256": digest})
    )
    return path


def change(bundle: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the manifest of a bundle in place."""
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text())
    edit(manifest)
    file.write_text(json.dumps(manifest))


def test_a_sound_bundle_opens(bundle: Path) -> None:
    opened = read(bundle)
    assert isinstance(opened, Bundle)
    assert opened.path == bundle
    assert opened.manifest.name == "oracle"
    assert opened.image_spec == ImageSpec(height=8, width=8, channels=3)
    assert opened.graph_file("encode") == bundle / "encode.onnx"
    with pytest.raises(KeyError):
        opened.graph_file("dream")


@pytest.mark.parametrize(
    "file", ["weights.bin", "encode.onnx", "decode.onnx", "reconstruct.onnx", "score.onnx"]
)
@pytest.mark.parametrize("damage", ["one bit", "cut short", "longer", "empty", "gone", "a folder"])
def test_a_damaged_file_is_named(bundle: Path, file: str, damage: str) -> None:
    path = bundle / file
    data = bytearray(path.read_bytes())
    if damage == "one bit":
        data[len(data) // 2] ^= 1
    elif damage == "cut short":
        del data[-1]
    elif damage == "longer":
        data += b"\0"
    elif damage == "empty":
        data.clear()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "gone":
        path.write_bytes(data)
    with pytest.raises(BundleError) as caught:
        read(bundle)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_graphs_in_one_file_must_agree_on_its_hash(bundle: Path) -> None:
    def share(manifest: dict[str, Any]) -> None:
        manifest["graphs"]["spare"] = manifest["graphs"]["encode"] | {"sha256": "f" * 64}

    change(bundle, share)
    with pytest.raises(BundleError, match=r"encode\.onnx is damaged"):
        read(bundle)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"format": NaN}', "NaN is no JSON number"),
        (b'{"format": ' + b"9" * 5_000 + b"}", "is not JSON"),
        (b"[]", "the whole must be an object"),
        (b"{}", "format is missing"),
        (b'{"format": 99}', "format is 99; this version reads 1"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named(
    bundle: Path, content: bytes, complaint: str
) -> None:
    (bundle / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=complaint) as caught:
        read(bundle)
    assert str(caught.value).startswith(str(bundle / "manifest.json"))


def test_no_bundle_at_all_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read: No such file"):
        read(tmp_path)
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read: No such file"):
        read(tmp_path / "nowhere")


def test_a_file_outside_is_never_opened(bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    for file in ("../../secret", str(outside), "./../../secret"):
        change(bundle, lambda m, f=file: m.update(weights={"file": f, "sha256": digest}))  # type: ignore[misc]
        with pytest.raises(BundleError, match=r"weights\.file must be text like"):
            read(bundle)


def test_the_folders_names_must_be_the_manifests(bundle: Path) -> None:
    assert read(bundle, name="oracle", version=1).manifest.version == 1
    with pytest.raises(BundleError, match="name is oracle, but the folder says delphi"):
        read(bundle, name="delphi", version=1)
    with pytest.raises(BundleError, match="version is 1, but the folder says 2"):
        read(bundle, name="oracle", version=2)


def test_a_bundle_of_vectors_has_no_image_spec(bundle: Path) -> None:
    def vectors(manifest: dict[str, Any]) -> None:
        tensor = {"name": "x", "dtype": "float32", "shape": ["N", 4]}
        manifest["vector"] = {"size": 4}
        manifest["latent"]["size"] = 4
        del manifest["image"], manifest["preprocess"]
        graph = manifest["graphs"]["encode"] | {"inputs": [tensor], "outputs": [tensor]}
        manifest["graphs"] = {"encode": graph}

    change(bundle, vectors)
    with pytest.raises(BundleError, match="takes vectors, not images"):
        _ = read(bundle).image_spec


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_model_folder_shows_its_bundles_in_order(tmp_path: Path) -> None:
    for name, version in (("zebra", 1), ("ant", 10), ("ant", 9), ("ant_2-b", 1)):
        make_oracle(tmp_path, name=name, version=version)
    (tmp_path / "ant" / "9" / "manifest.json").write_text("{")  # found all the same
    for passed_over in ("ant/0", "ant/01", "ant/1.tmp", "ant/.2", "Ant/1", "a b/1", ".git/1"):
        (tmp_path / passed_over).mkdir(parents=True)
    (tmp_path / "ant" / "3").write_text("a file, not a folder")
    (tmp_path / "notes.txt").write_text("")
    assert [(found.name, found.version) for found in find_bundles(tmp_path)] == [
        ("ant", 9),
        ("ant", 10),
        ("ant_2-b", 1),
        ("zebra", 1),
    ]
    assert find_bundles(tmp_path)[1].path == tmp_path / "ant" / "10"


def test_a_bare_bundle_is_found_as_its_manifest_says(bundle: Path, tmp_path: Path) -> None:
    bare = tmp_path / "My Model"
    shutil.copytree(bundle, bare)
    assert find_bundles(bare) == [("oracle", 1, bare)]
    (bare / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="is not JSON"):
        find_bundles(bare)


def test_an_empty_folder_has_no_bundles_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    assert find_bundles(tmp_path) == []
    with pytest.raises(BundleError, match="is not a directory"):
        find_bundles(tmp_path / "nowhere")
