"""One run by two real processes: the losses of one process, one writer, and a worker that dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import nn

from biject import main
from models.config import Config
from models.datasets.dataset import Dataset
from models.errors import BadConfig
from models.pairings.pairing import given
from models.training import log
from models.training.batches import Batches
from models.training.step import Trainer
from models.training.workers import Workers

ROOT = Path(__file__).parents[2]
RING = ROOT / "models/configs/ring.toml"
SETS = ("model.width=16", "train.batch=32", "train.threads=1", "train.log_every=1",
        "train.checkpoint_every=3", "train.sample_every=100", "regularisers.gradient=1",
        "train.critic_steps=2", "data.limit=300")  # fmt: skip


def words(*sets: str) -> list[str]:
    return [word for one in sets for word in ("--set", one)]


def start(*arguments: object) -> subprocess.Popen[str]:
    """The documented command, two processes on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               "2", "-m", "models.cli", "train", *map(str, arguments)]  # fmt: skip
    return subprocess.Popen(
        [*command, "--device", "cpu"],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    step = (run / "checkpoints/latest").read_text()
    return load_file(run / "checkpoints" / step / "weights.safetensors")


@pytest.mark.parametrize(
    "more",
    [
        (),
        # told classes, whose labels are those of a worker's own rows
        pytest.param(("model.classes=8", "train.unlabelled=0.3"), marks=pytest.mark.slow),
    ],
    ids=["plain", "conditional"],
)
def test_two_processes_lose_what_one_loses_and_resume(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    sets = words(*SETS, *more)
    done = CliRunner().invoke(main, ["train", str(RING), "--out", str(one), "--steps", "8", *sets])
    assert done.exit_code == 0, done.output
    out = finish(start(RING, "--out", two, "--steps", 5, *sets))
    assert out.strip() == str(two)  # said once
    finish(start("--resume", two, "--steps", 8))
    lines = [list(log.read(run)) for run in (one, two)]
    assert [line["step"] for line in lines[1]] == list(range(1, 9))  # written once
    for alone, shared in zip(*lines, strict=True):
        assert shared["losses"] == pytest.approx(alone["losses"], rel=1e-4, abs=1e-6)
    alone_weights, shared_weights = weights(one), weights(two)
    for name, weight in alone_weights.items():
        torch.testing.assert_close(shared_weights[name], weight, rtol=1e-3, atol=1e-5)
    found = log.read(one)
    assert next(found)["losses"]["critic/gradient"] > 0  # what is drawn inside a penalty counts


@pytest.mark.parametrize(
    "told_first",  # to stop, by torchrun, and not by a connection that broke
    [False, pytest.param(True, marks=pytest.mark.slow)],
)
def test_a_worker_that_dies_stops_the_run_which_can_go_on(tmp_path: Path, told_first: bool) -> None:
    run = tmp_path / "run"
    process = start(RING, "--out", run, "--steps", 100_000, *words(*SETS))
    wait_for(run / "checkpoints/latest", process)
    leader, other = sorted(workers_of(process.pid), key=rank_of)
    assert (rank_of(leader), rank_of(other)) == (0, 1)
    if told_first:
        os.kill(leader, signal.SIGSTOP)
    os.kill(other, signal.SIGKILL)
    if told_first:
        time.sleep(3)  # torchrun looks ten times a second
        os.kill(leader, signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "another worker was lost" in err
    assert "continue from the latest checkpoint with --resume" in err
    step = int((run / "checkpoints/latest").read_text())
    done = CliRunner().invoke(main, ["train", "--resume", str(run), "--steps", str(step + 2)])
    assert done.exit_code == 0, done.output
    assert (run / "checkpoints/latest").read_text() == str(step + 2)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None and not path.exists():
        time.sleep(0.05)
    assert path.exists(), process.communicate()[1] if process.poll() is not None else "too slow"


def workers_of(launcher: int) -> Iterator[int]:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in map(int, children):
        if "models.cli" in Path(f"/proc/{child}/cmdline").read_text():
            yield child


def rank_of(pid: int) -> int:
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return int(dict(pair.split("=", 1) for pair in pairs if "=" in pair)["RANK"])


def test_workers_share_a_batch_without_overlap() -> None:
    batch = torch.arange(12).reshape(6, 2)
    parts = [Workers(rank=rank, count=3).own(batch) for rank in range(3)]
    assert torch.equal(torch.cat(parts), batch)


@pytest.mark.parametrize(
    "draw",
    [
        lambda n, rng: torch.rand(n, generator=rng),
        lambda n, rng: torch.randn((n, 3), generator=rng),
        lambda n, rng: torch.randn(torch.Size([n, 3]), generator=rng, dtype=torch.float64),
        lambda n, rng: torch.randint(-2, 5, (n,), generator=rng),
    ],
)
def test_what_workers_draw_are_the_rows_of_one_draw(draw: Any) -> None:
    rows = []
    for rank in range(2):
        with Workers(rank=rank, count=2).draws():
            rows.append(draw(4, torch.Generator().manual_seed(7)))
    whole = draw(8, torch.Generator().manual_seed(7))
    np.testing.assert_array_equal(torch.cat(rows), whole)


def test_every_worker_has_the_batch_of_one_process() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 4, 4, 1), np.uint8)
    data = Dataset(images=images, labels=np.arange(40) % 8, classes=tuple("abcdefgh"))
    cpu = torch.device("cpu")
    batches = Batches(data, batch=16, seed=1, device=cpu, flip=True, unlabelled=0.5)
    wanted = [(batches.at(number), batches.labels_at(number)) for number in range(4)]
    with Workers(rank=1, count=2).draws():
        for number, (items, labels) in enumerate(wanted):
            assert torch.equal(batches.at(number), items)
            assert labels is not None
            assert torch.equal(given(batches.labels_at(number)), labels)


def test_on_cuda_batchnorm_measures_the_rows_of_all_workers() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(norm, nn.ReLU()), nn.BatchNorm2d(4))
    before = network.state_dict()
    cuda, two = torch.device("cuda"), Workers(rank=0, count=2)
    for alone, device in ((Workers(), cuda), (two, torch.device("cpu"))):
        assert alone.synchronised(network, device) is network
        assert not any(isinstance(part, nn.SyncBatchNorm) for part in network.modules())
    made = two.synchronised(network, cuda)
    assert sum(isinstance(part, nn.SyncBatchNorm) for part in made.modules()) == 2
    assert not any(isinstance(part, nn.BatchNorm2d) for part in made.modules())
    weights = zip(made.get_submodule("1.0").parameters(), norm.parameters(), strict=True)
    assert all(theirs is own for theirs, own in weights)
    after = made.state_dict()  # a checkpoint is anybody's
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_batches_that_cannot_be_shared_are_refused() -> None:
    Workers(rank=0, count=2).check_batch(4)
    for batch in (3, 2):
        with pytest.raises(BadConfig, match="evenly"):
            Workers(rank=0, count=2).check_batch(batch)
    Workers().check_batch(3)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.objective=cramer", "model.objective = cramer"),
        ("model.objective=ebgan", "model.objective = ebgan"),
        ("regularisers.dragan=1", "regularisers.dragan"),
        ("model.critic_minibatch=std", "model.critic_minibatch"),
    ],
)
def test_what_compares_whole_batches_is_refused_to_several(override: str, named: str) -> None:
    config = Config.read(RING, ["regularisers.pairwise=0", override])
    Trainer(config, torch.device("cpu"))
    with pytest.raises(BadConfig, match=f"{named} compares all of it"):
        Trainer(config, torch.device("cpu"), Workers(rank=0, count=2))
