"""Tables to vectors: what a column becomes, who learns from which rows, what is refused."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from models.datasets import Cut, load_vectors
from models.datasets.scaling import Scaling
from models.errors import DataError, UnknownName

DATA = Path(os.environ.get("BIJECT_DATA", "nowhere")) / "tabular"
CSV = """\
size,colour,kind,note
1,red,good,a
2,blue,good,b
3.5,green,bad,c
-4,red,good,d
"""


def write(folder: Path, text: str = CSV, name: str = "t.csv") -> str:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_text_becomes_a_column_for_each_value_of_the_rows_wanted(tmp_path: Path, name: str) -> None:
    cut = Cut(label="kind", drop=("note",))
    path = write(tmp_path, name=name)
    good = load_vectors(path, cut=cut, classes=["good"])
    assert good.columns == ("size", "colour=blue", "colour=red")
    assert good.images.dtype == np.float32
    assert good.images.tolist() == [[1, 0, 1], [2, 1, 0], [-4, 0, 1]]
    # green is no value of theirs: as a row it has neither
    every = load_vectors(path, cut=cut, columns=good.columns)
    assert every.images[2].tolist() == [3.5, 0, 0]
    assert every.labels is not None
    assert (every.labels.tolist(), every.classes) == ([1, 1, 0, 1], ("bad", "good"))


def test_a_model_s_columns_decide_and_order(tmp_path: Path) -> None:
    path = write(tmp_path, "b,colour,a\n1,red,2\n3,blue,4\n")
    found = load_vectors(path, columns=["a", "colour=red", "b"])
    assert found.images.tolist() == [[2, 1, 1], [4, 0, 3]]
    with pytest.raises(DataError, match="has no column 'c'"):
        load_vectors(path, columns=["a", "c"])
    with pytest.raises(DataError, match="has no column 'size'"):
        load_vectors(path, columns=["size=3"])


def test_a_table_is_divided_by_its_seed(tmp_path: Path) -> None:
    text = "n\n" + "".join(f"{i}\n" for i in range(100))
    path = write(tmp_path, text)

    def part(split: str, seed: int) -> set[float]:
        data = load_vectors(path, cut=Cut(test=0.3, seed=seed), split=split)  # type: ignore[arg-type]
        return set(data.images[:, 0].tolist())

    train, test = part("train", 1), part("test", 1)
    assert (len(train), len(test), len(train | test)) == (70, 30, 100)
    assert part("test", 1) == test != part("test", 2)
    with pytest.raises(DataError, match="no test part"):
        load_vectors(path, split="test")


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    rows = np.arange(6.0).reshape(3, 2)
    np.savez(path, vectors=rows, labels=["x", "y", "x"], test_vectors=-rows, columns=["a", "b"])
    data = load_vectors(str(path))
    assert (data.columns, data.classes) == (("a", "b"), ("x", "y"))
    assert data.images.tolist() == rows.tolist()
    test = load_vectors(str(path), split="test", columns=["b", "a"])
    assert (test.images.tolist(), test.labels) == ((-rows[:, ::-1]).tolist(), None)
    np.savez(path, X=rows, y=[0, 1, 1])
    adbench = load_vectors(str(path))
    assert (adbench.images.tolist(), adbench.columns, adbench.classes) == (
        rows.tolist(), (), ("0", "1"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cut", "said"),
    [
        ("a,b\n1,2\n3\n", Cut(), "line 3: 1 cells under 2 names"),
        ("a,b\n", Cut(), "has no rows"),
        ("a,a\n1,2\n", Cut(), "two columns 'a'"),
        ("a,b\n1,?\n2,3\n", Cut(), r"b is '\?' in some rows: data.drop leaves it out"),
        ("a\n1\ninf\n", Cut(), "line 3: a is inf, not a finite number"),
        ("a\n1\n1e39\n", Cut(), "line 3: a is 1e39, not a finite number"),
        ("a\n1\n2\n", Cut(label="kind"), r"no column 'kind' \(data.label\)"),
        ("a\n" + "".join(f"v{i}\n" for i in range(300)), Cut(), "300 different texts"),
        ('a\n"1\n', Cut(), "cannot be read"),
    ],
)
def test_what_no_table_may_hold(tmp_path: Path, text: str, cut: Cut, said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_vectors(write(tmp_path, text), cut=cut)


def test_what_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes(b"a\n\xff\n")
    with pytest.raises(DataError, match="not UTF-8"):
        load_vectors(str(tmp_path / "l.csv"))
    (tmp_path / "n.npz").write_bytes(b"PK no")
    with pytest.raises(DataError, match="cannot be read"):
        load_vectors(str(tmp_path / "n.npz"))
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(UnknownName, match="format of vectors"):
        load_vectors(str(tmp_path / "a.png"))
    with pytest.raises(DataError, match="no data at"):
        load_vectors(str(tmp_path / "nothing.csv"))


def test_the_kdd_file_gets_its_header_and_two_classes(tmp_path: Path) -> None:
    (tmp_path / "kddcup_columns.txt").write_text("duration\nprotocol_type\nlabel\n")
    rows = "0,tcp,normal.\n5,icmp,smurf.\n7,icmp,neptune.\n"
    data = load_vectors(write(tmp_path, rows, "kddcup.data_10_percent.gz"))
    assert data.columns == ("duration", "protocol_type=icmp", "protocol_type=tcp")
    assert data.images.tolist() == [[0, 0, 1], [5, 1, 0], [7, 1, 0]]
    assert data.labels is not None
    assert [data.classes[i] for i in data.labels] == ["normal", "attack", "attack"]


@pytest.mark.skipif(not (DATA / "arrhythmia.data").exists(), reason=f"no {DATA}: set BIJECT_DATA")
def test_arrhythmia_as_published() -> None:
    path = str(DATA / "arrhythmia.data")
    data = load_vectors(path)
    assert data.images.shape == (452, 274)
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [66, 386]
    assert data.classes == ("anomalous", "normal")


def test_scaling_by_hand() -> None:
    rows = np.array([[0, 5, -1], [2, 5, 3], [4, 5, -1]], np.float32)
    standard = Scaling.fitted(rows, "standard")
    assert standard is not None
    assert standard.shift.tolist() == pytest.approx([2, 5, 1 / 3])
    # deviations over N; the constant column keeps its unit
    assert standard.scale.tolist() == pytest.approx([(8 / 3) ** 0.5, 1, (32 / 9) ** 0.5])
    ranged = Scaling.fitted(rows, "range")
    assert ranged is not None
    assert ranged(rows).tolist() == [[-1, 0, -1], [0, 0, 1], [1, 0, -1]]
    again = Scaling.of_dict(ranged.to_dict())
    assert (again.shift.tolist(), again.scale.tolist()) == ([2, 5, 1], [2, 1, 2])
    assert Scaling.fitted(rows, "none") is None
    steady = Scaling.fitted(np.full((999, 1), 0.1, np.float32), "standard")
    assert steady is not None
    assert steady.scale.tolist() == [1]
