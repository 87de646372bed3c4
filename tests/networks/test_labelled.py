"""Networks that are told labels: by hand, and in one update of every pairing and family."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.config import Config
from models.datasets.dataset import Dataset
from models.errors import BadConfig, DataError
from models.networks.blocks import Support
from models.networks.labelled import SIZE, UNLABELLED, Labelled, told, untold
from models.pairings import PAIRINGS
from models.training import loop
from models.training.batches import Batches
from models.training.step import Trainer

CPU = torch.device("cpu")
CLASSES = 3
VECTORS = {"vector": 2, "network": "mlp", "latent": 4, "width": 8}
IMAGES = {"image": [32, 32, 1], "latent": 4, "width": 4}


class Sum(nn.Module):
    """The sum of each row, beside what else it is given."""

    def forward(self, first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        return first.flatten(1).sum(1) + sum(other.sum(1) for other in others)


def summing() -> Labelled:
    labelled = Labelled(Sum(), CLASSES)
    with torch.no_grad():
        labelled.embed.weight.copy_(10.0 ** torch.arange(CLASSES + 1)[:, None].expand(-1, SIZE))
    return labelled


def test_a_label_is_laid_beside_the_first_part() -> None:
    labels = torch.tensor([0, 2, UNLABELLED])
    z, other = torch.full((3, 2), 0.25), torch.ones(3, 1)
    assert summing()(labels, z, other).tolist() == [9.5, 801.5, 8001.5]
    x = torch.zeros(3, 1, 2, 2)
    assert summing()(labels, x).tolist() == [32.0, 3200.0, 32000.0]  # planes of one value


def test_no_label_breaks_a_batch() -> None:
    z = torch.zeros(4, 2)
    labels = torch.tensor([0, 4, -4, 2**62])
    assert torch.equal(summing()(labels, z), summing()(labels.remainder(4), z))


def test_several_batches_one_after_another_are_told_the_same() -> None:
    network = told(summing(), torch.tensor([1, 0]))
    assert network(torch.zeros(4, 2)).tolist() == [80, 8, 80, 8]
    assert network(torch.zeros(2, 2)).tolist() == [80, 8]
    assert told(summing(), None)(torch.zeros(2, 2)).tolist() == [8000, 8000]
    plain = nn.Linear(2, 2)
    assert told(plain, torch.tensor([1, 0])) is plain
    assert isinstance(untold(network), Sum)


def test_of_a_mixed_prior_e_gives_shares() -> None:
    z = torch.tensor([[3.0, 0.0, np.log(3.0)]])
    assert Support("normal", 2)(z).tolist() == [[3.0, 0.25, 0.75]]
    bounded = Support("uniform", 2)(z)
    assert bounded[0, 0].item() == pytest.approx(np.tanh(3.0))
    assert bounded[0, 1:].tolist() == pytest.approx([0.25, 0.75])


def trainer(**model: object) -> tuple[Trainer, Batches]:
    polish = {"polish": 1} if model.get("pairing") == "fanogan" else {}
    config = Config.from_dict(
        {"model": {**model, "classes": CLASSES}, "train": {"batch": 12, "steps": 2, **polish}}
    )
    rng = np.random.default_rng(0)
    if "vector" in model:
        items = rng.standard_normal((24, 2)).astype(np.float32)
    else:
        items = rng.integers(0, 256, (24, 32, 32, 1), np.uint8)
    data = Dataset(images=items, labels=np.arange(24) % CLASSES, classes=("a", "b", "c"))
    return Trainer(config, CPU), Batches(data, batch=12, seed=0, device=CPU, unlabelled=0.1)


def embeddings(made: Trainer) -> dict[str, torch.Tensor]:
    """What stands for each class, without what stands for none."""
    return {
        f"{prefix}.{name}": weight[:CLASSES].clone()
        for prefix, module in made.modules().items()
        for name, weight in module.state_dict().items()
        if name.endswith("embed.weight")
    }


@pytest.mark.parametrize(
    "model",
    [
        *({"pairing": name, **VECTORS} for name in PAIRINGS),
        *(
            {"pairing": pairing, "network": network, **IMAGES}
            for pairing, network in (("aegan", "dcgan"), ("alad", "resnet"), ("bigan", "aegan"))
        ),
        {"pairing": "bigan", "objective": "ebgan", **VECTORS, "prior": "uniform"},
        {"pairing": "aegan", "critic_minibatch": "std", **VECTORS, "categorical": 2},
    ],
    ids=str,
)
def test_every_network_learns_from_the_labels(model: dict[str, object]) -> None:
    made, batches = trainer(**model)
    if made.objective.warming:
        made.objective = made.objective.restored({"warmed": 200, "margin": 50.0})
    critics = sum(name.startswith("critics") for name in embeddings(made))
    assert critics == len(made.critics)
    start = embeddings(made)
    for _ in range(2):
        losses = made.update(batches)
        assert all(bool(loss.isfinite()) for loss in losses.values())
    moved = {name for name, now in embeddings(made).items() if not torch.equal(now, start[name])}
    assert moved == set(start)
    z = torch.randn(4, made.config.model.latent)
    made.generator.eval()
    one, other = (told(made.generator, torch.full((4,), label))(z) for label in (0, 1))
    assert not torch.equal(one, other)


def test_polishing_tells_e_g_and_the_critic() -> None:
    made, batches = trainer(pairing="fanogan", **VECTORS)
    made.update(batches)
    x, labels = batches.at(1), batches.labels_at(1)
    encoder, generator = (
        told(one, labels) for one in (made.averaged_encoder, made.averaged_generator)
    )
    critic = told(made.critics["image"], labels)
    with torch.no_grad():
        again = generator(encoder(x))
        noticed = critic.features(x) - critic.features(again)
        expected = (x - again).square().mean() + noticed.square().mean()
    losses = made.update(batches)
    assert losses["pair/total"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_labels_stay_beside_their_items_and_a_share_is_left_out() -> None:
    items = np.arange(1000, dtype=np.float32)[:, None]
    data = Dataset(images=items, labels=np.arange(1000) % 7, classes=tuple("abcdefg"))
    batches = Batches(data, batch=100, seed=3, device=CPU, unlabelled=0.25)
    left = 0
    for number in range(20):
        x, labels = batches.at(number), batches.labels_at(number)
        assert labels is not None
        known = labels != UNLABELLED
        assert torch.equal(labels[known], x[known, 0].long() % 7)
        left += int((~known).sum())
        assert torch.equal(labels, batches.labels_at(number))  # type: ignore[arg-type]
    assert left / 2000 == pytest.approx(0.25, abs=0.04)


def test_a_run_leaves_out_as_many_labels_as_its_config_says(tmp_path: Path) -> None:
    table = {"model": {**VECTORS, "classes": CLASSES}, "train": {"batch": 50, "unlabelled": 0.25}}
    items = np.zeros((1000, 2), np.float32)
    data = Dataset(images=items, labels=np.arange(1000) % CLASSES, classes=("a", "b", "c"))
    run = loop.Run(tmp_path / "run", Config.from_dict(table), data, CPU)
    labels = [run.batches.labels_at(number) for number in range(18)]
    left = sum(int((one == UNLABELLED).sum()) for one in labels if one is not None)
    assert left / 900 == pytest.approx(0.25, abs=0.06)  # four standard deviations


@pytest.mark.parametrize(
    ("model", "train", "words"),
    [
        ({"classes": 1}, {}, "model.classes must be 0, or 2 or more"),
        ({"categorical": 4}, {}, "below model.latent"),
        ({"categorical": 1}, {}, "model.categorical must be 0, or 2"),
        ({"classes": 3}, {"unlabelled": 0}, "train.unlabelled"),
        ({"classes": 3, "pairing": "bigan", "objective": "gmmn"}, {}, "gmmn has no critic"),
        ({"categorical": 2, "pairing": "ali"}, {}, "a category has none"),
    ],
)
def test_what_does_not_go_together_is_refused(
    model: dict[str, object], train: dict[str, object], words: str
) -> None:
    with pytest.raises(BadConfig, match=words):
        loop.check(Config.from_dict({"model": {**VECTORS, **model}, "train": train}))


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [(None, (), "has no labels"), (np.arange(24) % 2, ("a", "b"), "has 2 classes, but")],
)
def test_data_must_have_the_classes(
    labels: np.ndarray | None, classes: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    config = Config.from_dict({"model": {**VECTORS, "classes": CLASSES}})
    data = Dataset(images=np.zeros((24, 2), np.float32), labels=labels, classes=classes)
    with pytest.raises(DataError, match=words):
        loop.Run(tmp_path / "run", config, data, CPU)
