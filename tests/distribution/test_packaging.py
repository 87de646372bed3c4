"""What is declared is what is imported, and what is installed is what is pinned."""

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BASE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines]
    for name, lines in PROJECT["optional-dependencies"].items()
}
ALL = [*BASE, *(requirement for lines in EXTRAS.values() for requirement in lines)]
OUR_OWN = {"biject", "models", "export", "serving"}
OF_THE_ENVIRONMENT = {"pip", "setuptools"}  # there before anything is installed
# Imported only after it was asked whether the extra is there.
OF_EXTRAS = {
    "serving/files.py": {"pyarrow"},
    "serving/bulk/ledger.py": {"pyarrow"},
    "serving/bulk/pipeline.py": {"pyarrow"},
    "serving/bulk/tables.py": {"pyarrow"},
    "serving/bulk/on_ray.py": {"ray"},
}
PLATFORMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "arm": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    "mac": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
    "win": {"sys_platform": "win32", "platform_system": "Windows", "platform_machine": "AMD64"},
}


def pins(environment: Mapping[str, str]) -> dict[str, str]:
    """The pinned version of each distribution, by its canonical name."""
    found: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(dict(environment)):
                (pin,) = requirement.specifier
                name = canonicalize_name(requirement.name)
                assert pin.operator == "==", line
                assert name not in found, line
                found[name] = pin.version
    return found


def wanted(requirements: Iterable[Requirement], environment: Mapping[str, str]) -> set[str]:
    """Names of all that comes with `requirements`, as far as the metadata installed here tell."""
    seen: set[tuple[str, str]] = set()
    open_ends = [(requirement, "") for requirement in requirements]
    while open_ends:
        requirement, extra = open_ends.pop()
        marker = requirement.marker
        if marker is not None and not marker.evaluate({**environment, "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for own in {"", *requirement.extras}:
            if name in OUR_OWN or (name, own) in seen:
                continue
            seen.add((name, own))
            try:
                lines = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            open_ends += [(Requirement(line), own) for line in lines]
    return {name for name, _ in seen} - OF_THE_ENVIRONMENT


def imported(file: Path) -> Iterator[str]:
    """Top-level names of what a file imports from others, in functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
        tops = {module.split(".")[0] for module in modules}
        yield from tops - OUR_OWN - sys.stdlib_module_names


def test_the_bento_asks_for_what_serving_asks_for() -> None:
    constraint, *listed = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"][
        "packages"
    ]
    assert constraint == "-c ../../src/constraints.txt"
    expected = [str(each) for each in BASE if each.name != "bentoml"]  # BentoML adds itself
    assert [str(Requirement(line)) for line in listed] == expected


@pytest.mark.parametrize(
    ("room", "extras"),
    [("serving", ()), ("models", ("train",)), ("export", ("train", "export"))],
)
def test_what_a_room_imports_is_declared_for_it(room: str, extras: tuple[str, ...]) -> None:
    declared = {canonicalize_name(each.name) for each in BASE}
    declared |= {canonicalize_name(each.name) for extra in extras for each in EXTRAS[extra]}
    providers = metadata.packages_distributions()
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        allowed = declared | OF_EXTRAS.get(file.relative_to(ROOT).as_posix(), set())
        for module in imported(file):
            names = {canonicalize_name(name) for name in providers.get(module, [module])}
            assert names & allowed, f"{file.relative_to(ROOT)} imports {module}"


def test_what_is_installed_is_pinned() -> None:
    """Of biject's own; a tool that somebody put beside it is none of ours."""
    versions = {
        str(canonicalize_name(each.metadata["Name"])): Version(each.version).public
        for each in metadata.distributions()
    }
    ours = wanted(ALL, {}) & versions.keys()
    assert {"numpy", "bentoml", "torch", "onnx", "pytest", "starlette"} <= ours
    pinned = pins({})
    assert {name: pinned.get(name) for name in ours} == {name: versions[name] for name in ours}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_other_platforms_install_is_pinned_and_fits(platform: str) -> None:
    environment = PLATFORMS[platform]
    pinned = pins(environment)
    assert wanted(ALL, environment) - pinned.keys() == set()
    for requirement in ALL:
        marker = requirement.marker
        if requirement.name != "biject" and (marker is None or marker.evaluate(dict(environment))):
            version = pinned[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement


def test_the_cuda_wheels_fit_the_runtime_that_loads_them() -> None:
    pinned = pins(PLATFORMS["linux"])
    lines = [Requirement(line) for line in metadata.requires("onnxruntime-gpu") or []]
    nvidia = [each for each in lines if each.name.startswith("nvidia-")]
    assert nvidia
    for each in nvidia:
        assert each.specifier.contains(pinned[canonicalize_name(each.name)]), each
