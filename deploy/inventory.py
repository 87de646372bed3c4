"""Write what a Bento is made of: deploy/locks/*.txt, deploy/bento/sbom.cdx.json and licences.md.

    .venv/bin/python deploy/inventory.py          # after a change of constraints.txt; asks PyPI
    .venv/bin/python deploy/inventory.py --bento  # the last two alone, from the lock that is there

Licences are what the installed packages say of themselves.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT: Final = Path(__file__).resolve().parents[1]
LOCK: Final = ROOT / "deploy" / "locks" / "serve.txt"
CUDA_LOCK: Final = LOCK.with_name("cuda.txt")
SBOM: Final = ROOT / "deploy" / "bento" / "sbom.cdx.json"
LICENCES: Final = SBOM.with_name("licences.md")
BUNDLES: Final = ROOT / "serving" / "bundles"
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SPDX: Final = {  # what packages say without an SPDX expression; BSD: the text has three clauses
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
_PIN: Final = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)
_OSI: Final = "License :: OSI Approved :: "


def lock() -> None:
    """Write both locks anew: the versions of constraints.txt, for x86-64 Linux, with hashes."""
    cuda = PROJECT["optional-dependencies"]["gpu"]
    for file, source, text in (
        (LOCK, "pyproject.toml", ""),
        (CUDA_LOCK, "-", "\n".join(cuda)),
    ):
        subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "compile", source, "--quiet", "--no-config"),
                *("--constraint", "constraints.txt", "--generate-hashes", "--no-header"),
                *("--no-annotate", "--python-version", "3.11"),
                *("--python-platform", "x86_64-manylinux_2_28", "--output-file", str(file)),
            ],
            input=text,
            text=True,
            cwd=ROOT,
            check=True,
        )


def pins(file: Path = LOCK) -> dict[str, str]:
    """The version of each package in a lock, by name."""
    return dict(_PIN.findall(file.read_text(encoding="utf-8")))


def licence(name: str) -> str:
    """What the installed package says of its licence, as an SPDX expression."""
    said = metadata.metadata(name)
    if expression := said.get_all("License-Expression"):
        return str(expression[0])
    classes = [line.removeprefix(_OSI) for line in said.get_all("Classifier") or []
               if line.startswith(_OSI)]  # fmt: skip
    prose = "".join(said.get_all("License") or []).strip()
    whole = prose if prose and "\n" not in prose else " AND ".join(classes)
    return SPDX.get(whole, whole)


def bom() -> dict[str, Any]:
    """The CycloneDX document of a Bento, without time stamps: equal inputs give equal bytes."""
    licences = LicenseFactory()
    parts = [*_packages(licences), *_models(licences)]
    whole = Bom(components=parts)
    whole.metadata.component = Component(
        type=ComponentType.APPLICATION,
        name=PROJECT["name"],
        version=PROJECT["version"],
        bom_ref=PROJECT["name"],
        licenses=[licences.make_from_string(PROJECT["license"])],
    )
    whole.register_dependency(whole.metadata.component, parts)
    document: dict[str, Any] = json.loads(JsonV1Dot6(whole).output_as_string())
    del document["metadata"]["timestamp"]
    document["serialNumber"] = ""
    number = uuid5(NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return document | {"serialNumber": f"urn:uuid:{number}"}


def _packages(licences: LicenseFactory) -> Iterator[Component]:
    for name, version in pins().items():
        url = PackageURL("pypi", name=name, version=version)
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            bom_ref=str(url),
            purl=url,
            licenses=[licences.make_from_string(licence(name))],
        )


def _models(licences: LicenseFactory) -> Iterator[Component]:
    for file in sorted(BUNDLES.glob("*/*/manifest.json")):
        manifest = json.loads(file.read_text(encoding="utf-8"))
        name, version = manifest["name"], str(manifest["version"])
        yield Component(
            type=ComponentType.MACHINE_LEARNING_MODEL,
            name=name,
            version=version,
            bom_ref=f"model:{name}@{version}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=manifest["weights"]["sha256"])],
            licenses=[licences.make_from_string(PROJECT["license"])],
        )


def table() -> str:
    """The licences as a page."""
    head = ["# What a Bento installs, and its licences", "", "As the packages state them.", "",
            "| package | version | licence |", "|---|---|---|"]  # fmt: skip
    rows = [f"| {name} | {version} | {licence(name)} |" for name, version in pins().items()]
    return "\n".join([*head, *rows]) + "\n"


def main() -> None:
    """Write all that is derived."""
    if "--bento" not in sys.argv[1:]:
        lock()
    SBOM.parent.mkdir(exist_ok=True)
    SBOM.write_text(json.dumps(bom(), indent=1) + "\n", encoding="utf-8")
    LICENCES.write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
