"""What is said of a Bento's parts is so: locks, bill of materials, licences."""

import json
import re
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import inventory

WRITE = "run deploy/inventory.py"
PINNED = {
    str(canonicalize_name(one.name)): next(iter(one.specifier)).version
    for line in (inventory.ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
    for one in [Requirement(line)]
    if one.marker is None or one.marker.evaluate({"sys_platform": "linux"})
}


@pytest.mark.parametrize("file", [inventory.LOCK, inventory.CUDA_LOCK])
def test_a_lock_has_the_tested_versions_each_with_hashes(file: Path) -> None:
    text = file.read_text()
    pins = inventory.pins(file)
    assert {name: PINNED[name] for name in pins} == pins, WRITE
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_lock_has_what_serving_declares_and_no_torch() -> None:
    declared = {
        canonicalize_name(one.name)
        for one in map(Requirement, inventory.PROJECT["dependencies"])
        if one.marker is None
        or one.marker.evaluate({"sys_platform": "linux", "platform_machine": "x86_64"})
    }
    assert declared <= inventory.pins().keys(), WRITE
    assert not {"torch", "onnx", "scikit-learn", "scipy"} & inventory.pins().keys()


def test_the_bill_of_materials_is_cyclonedx_and_up_to_date() -> None:
    text = inventory.SBOM.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert json.loads(text) == inventory.bom(), WRITE
    spoilt = text.replace('"library"', '"librarian"', 1)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(spoilt) is not None


def test_the_bill_names_packages_and_models() -> None:
    parts = {(one["type"], one["name"]): one for one in inventory.bom()["components"]}
    assert {name for kind, name in parts if kind == "library"} == inventory.pins().keys()
    models = {name for kind, name in parts if kind == "machine-learning-model"}
    assert models == {"fashion", "emoji"}
    assert all(one["licenses"] for one in parts.values())


def test_licences_are_listed_and_let_us_pass_them_on() -> None:
    assert inventory.LICENCES.read_text() == inventory.table(), WRITE
    free = {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear", "CC0-1.0",
            "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib"}  # fmt: skip
    for name in inventory.pins():
        words = set(re.findall(r"[\w.-]+", inventory.licence(name))) - {"AND", "OR"}
        assert words, name
        assert words <= free, name
