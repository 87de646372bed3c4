"""The guide has a row and a paragraph for every choice there is."""

import re

import pytest

from documentation.test_documents import document, table
from models import networks, pairings, regularisers

GUIDE = document("training.md")
PAIRINGS, REMEDIES = table(GUIDE, "pairing"), table(GUIDE, "remedy")
NETWORKS = table(GUIDE, "network")


def test_every_pairing_has_a_row_with_its_source() -> None:
    assert set(PAIRINGS) == set(pairings.PAIRINGS)
    for critics, _, _, source in PAIRINGS.values():
        assert critics
        assert re.search(r"[A-Z][a-z]+ 20\d\d", source)


def test_every_regulariser_has_a_row() -> None:
    assert {name for name in REMEDIES if "." not in name} == set(regularisers.PARSERS)


def test_every_network_has_a_row() -> None:
    assert set(NETWORKS) == set(networks.FAMILIES)


@pytest.mark.parametrize("name", [*PAIRINGS, *REMEDIES, *NETWORKS])
def test_every_choice_has_a_paragraph(name: str) -> None:
    spoken = name.rpartition(".")[2]
    assert re.search(rf"^- .*\*\*{spoken.removesuffix('_real')}\*\*", GUIDE, re.MULTILINE), spoken


@pytest.mark.parametrize("name", [n for n in REMEDIES if n.startswith("weights.")])
def test_every_weight_in_the_guide_is_one_of_a_pairing(name: str) -> None:
    key = name.partition(".")[2]
    assert any(key in each.default_weights for each in pairings.PAIRINGS.values())
