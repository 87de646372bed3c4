"""A model that cannot fit is refused with both figures, before any session is opened."""

from pathlib import Path

import pytest

from serving.bundle import read
from serving.errors import BundleError
from serving.memory import check_fits, free_memory, needed

MIB = 2**20


def machine(tmp_path: Path, available_kb: int, **files: str) -> tuple[Path, Path]:
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "cgroup"
    meminfo.write_text(f"MemTotal: 9999999 kB\nMemAvailable:  {available_kb} kB\n")
    cgroup.mkdir()
    for name, text in files.items():
        (cgroup / f"memory.{name}").write_text(text)
    return meminfo, cgroup


def test_what_a_bundle_needs_is_its_graphs_and_their_weights(oracle_bundle: Path) -> None:
    bundle = read(oracle_bundle)
    graphs = sum(file.stat().st_size for file in oracle_bundle.glob("*.onnx"))
    assert needed(bundle) == 64 * MIB + graphs  # the oracle's weights are in its graphs


def test_each_session_has_weights_of_its_own() -> None:
    path = Path(__file__).parents[2] / "serving/bundles/fashion/1"
    graphs = sum(file.stat().st_size for file in path.glob("*.onnx"))
    weights = (path / "weights.bin").stat().st_size
    assert needed(read(path)) == 64 * MIB + graphs + 4 * weights


def test_a_model_that_does_not_fit_is_refused_with_figures(oracle_bundle: Path) -> None:
    bundle = read(oracle_bundle)
    check_fits(bundle, free=needed(bundle))
    check_fits(bundle, free=None)
    with pytest.raises(BundleError, match=r"take up to 64 MiB of memory, 10 MiB are free"):
        check_fits(bundle, free=10 * MIB)


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 1000 * 1024),
        ({"max": "max\n", "current": "5"}, 1000 * 1024),
        ({"max": "600000", "current": "500000", "stat": "anon 9\nfile 200000\n"}, 300_000),
        ({"max": "600000", "current": "700000", "stat": "anon 9\n"}, 0),
        ({"max": "999999999", "current": "0", "stat": ""}, 1000 * 1024),
    ],
)
def test_free_memory_is_the_machines_cut_by_the_containers(
    tmp_path: Path, files: dict[str, str], free: int
) -> None:
    meminfo, cgroup = machine(tmp_path, 1000, **files)
    assert free_memory(meminfo, cgroup) == free


def test_where_the_system_does_not_say_nothing_is_known(tmp_path: Path) -> None:
    assert free_memory(tmp_path / "none", tmp_path) is None


def test_this_machine_has_some() -> None:
    free = free_memory()
    assert free is None or free > MIB
