"""The documents against the code: tables are complete, links lead somewhere, commands run."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

import biject
from bars import write_data
from documentation import console
from documentation.console import HOST, ROOT, Place, Shown, agree
from export import cli as export_cli
from export.evaluate import Asked, evaluate
from export.subjects import open_subject
from models import objectives
from models.config import Config
from oracle import make_oracle
from serving.latents import MAX_SEED
from serving.routes.parameter import Parameter
from serving.routes.parameters import known
from serving.settings import VARIABLES, Settings
from serving.verbs import VERBS

DOCUMENTS = [console.README, *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = [
    pytest.param(one, id=f"{document.stem}-{number}")
    for document in console.DOCUMENTS
    for number, one in enumerate(console.shown(document.read_text(encoding="utf-8")))
]
LIMITS = {"max_images": Settings().max_images, "max_frames": Settings().max_frames}
needs_model = pytest.mark.skipif(not console.MODEL.is_dir(), reason=f"no {console.MODEL}")


def document(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def table(text: str, heading: str) -> dict[str, list[str]]:
    """The table whose first heading this is, by its rows' first cells; empty if there is none."""
    lines = text.partition(f"| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = ([cell.strip("` ") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
    return {first: rest for first, *rest in rows}


def code(text: str, language: str) -> list[str]:
    """The fenced blocks in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_lines_of_a_console_block_are_told_apart() -> None:
    text = "$ no\n```console\n$ one\na\nb\n$ two\n```\n```\n$ no\n```\n"
    assert console.shown(text) == [Shown("one", ("a", "b")), Shown("two", ())]
    long = "x" * 101
    said = {"one": ["c"], "two": [long, long[:100]]}
    wanted = f"$ one\nc\n$ two\n{'x' * 97}...\n{'x' * 100}\n```"
    assert console.filled(text, said.__getitem__) == text.replace("$ one\na\nb\n$ two\n```", wanted)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("l1 0.5", "l1 0.501", True),
        ("l1 0.5", "l1 0.503", False),
        ("l1 0.5", "l2 0.5", False),
        ("[1.0, 2.0]", "[1.0, 2.0, 3.0]", False),
        ("[1.0, 2.0...", "[1.0, 2.04, 3.0]", True),
        ("[1.0, -0...", "[1.001, -0.04]", True),
        ("[1.0, ...", "[1.1, -0.04]", False),
        ("[1.0, -...", "[1.0]", False),
        ('{"a":1,"usage":{"ms":9}}', '{"a":1,"usage":{"ms":1,"b":"c"}}', True),
        ('{"a":1,"usage":{"ms":9}}', '{"a":2,"usage":{"ms":9}}', False),
        ('{"a":1,"us...', '{"a":1,"usage":{"ms":9}}', True),
        ('{"request_id":"a1"}', '{"request_id":"b2c"}', True),
        ('{"request_id":"a1...', '{"request_id":"b2c"}', True),
        ("1e-05", "0.00002", True),
        ("9e999", "9e999", True),
        ("", "x", False),
    ],
)
def test_shown_and_printed_lines_are_compared(shown: str, printed: str, same: bool) -> None:
    assert agree(shown, printed) is same


@pytest.mark.parametrize("name", VARIABLES)
def test_every_setting_is_documented_with_flag_and_default(name: str) -> None:
    flag, default, meaning = table(document("operations.md"), "variable")[VARIABLES[name]]
    assert flag == ("MODELS_DIR" if name == "models" else f"--{name.replace('_', '-')}")
    value = getattr(Settings(), name)
    if isinstance(value, Path):
        value = value.relative_to(ROOT).as_posix()
    if isinstance(value, bool):
        value = str(value).lower()
    assert default == ("none" if value in (None, ()) else str(value))
    assert meaning


def section(verb: str) -> str:
    """The verb's part of docs/api.md."""
    (own,) = re.findall(rf"^### {verb}\n(.*?)^##", document("api.md"), re.MULTILINE | re.DOTALL)
    return str(own)


LABELS = ("label", "labels")  # of all verbs


def own(verb: str) -> list[Parameter]:
    """The verb's parameters that its own part of docs/api.md has."""
    return [one for one in known(verb, **LIMITS) if one.name not in LABELS]


def parameters() -> list[Any]:
    found = [(verb, one) for verb in VERBS for one in own(verb)]
    return [pytest.param(verb, one, id=f"{verb}-{one.name}") for verb, one in found]


@pytest.mark.parametrize(("verb", "parameter"), parameters())
def test_every_parameter_is_documented_with_type_range_and_default(
    verb: str, parameter: Parameter
) -> None:
    kind, default, _ = table(section(verb), "parameter")[parameter.name]
    kind = kind.replace("`", "")
    word = {int: "integer", float: "number", str: "", bool: "true, false"}[parameter.kind]
    assert kind.startswith(word)
    limits = (parameter.low, parameter.high, parameter.above, parameter.below)
    wanted = ["2^63 - 1" if one == MAX_SEED else f"{one:g}" for one in limits if one is not None]
    assert [one for one in [*wanted, *map(str, parameter.choices)] if one not in kind] == []
    if parameter.default is not None:
        shown = parameter.default
        if isinstance(shown, bool):
            shown = str(shown).lower()
        elif isinstance(shown, int | float):
            shown = f"{shown:g}"
        assert default == shown


@pytest.mark.parametrize("verb", VERBS)
def test_no_parameter_is_documented_that_is_not_known(verb: str) -> None:
    said = list(table(section(verb), "parameter"))
    assert said == [parameter.name for parameter in own(verb)]


def test_labels_are_documented_once_for_all_verbs() -> None:
    said = table(section("Labels"), "parameter")
    assert list(said) == list(LABELS)
    without = {verb for verb in VERBS if "labels" not in {one.name for one in known(verb)}}
    assert f"not for {' and '.join(sorted(without))}" in said["labels"][2]


@pytest.mark.parametrize("command", biject.ROOMS)
def test_every_command_is_mentioned_and_its_help_has_an_example(command: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    assert any(re.search(rf"\bbiject {command}\b", text) for text in texts)
    result = CliRunner().invoke(biject.main, [command, "--help"])
    assert (result.exit_code, "Example:" in result.output) == (0, True)


@pytest.mark.parametrize(
    ("command", "heading"), [("evaluate", "option"), ("calibrate", "option of `biject calibrate`")]
)
def test_every_option_that_measures_is_documented(command: str, heading: str) -> None:
    rows = table(document("evaluation.md"), heading)
    found = [option for option in getattr(export_cli, command).params if option.opts[0][0] == "-"]
    assert list(rows) == [option.opts[0] for option in found]
    assert all(all(cells) for cells in rows.values())


def test_every_figure_is_documented(tmp_path: Path) -> None:
    known = {"l1": [0.0, 1.0]}
    bundle = make_oracle(tmp_path, height=16, width=16, channels=1, block=4, calibration=known)
    data = write_data(tmp_path)
    asked = Asked(data=str(data / "parts.npz"), against=str(data / "noise.npz"), normal=("1",))
    figures = evaluate(open_subject(bundle), asked).figures
    text = document("evaluation.md")
    spaces = figures["likeness"].pop("spaces")
    groups: list[dict[str, Any]] = [
        figures["reconstruction"], figures["codes"], figures["cycle"], figures["likeness"],
        spaces[0]["samples"], figures["anomaly"], figures["samples"], figures["calibration"],
    ]  # fmt: skip
    plain = {"normal", "abnormal", "against", "default", "count", "smallest_share", "shares",
             "classifier_accuracy", "term", "images", "pca", "prior", "another", "morphs",
             "pca_l2_average_precision", "isolation_forest_average_precision"}  # fmt: skip
    names = {key for group in groups for key in group} - plain
    names |= {space["key"] for space in spaces}
    assert sorted(name for name in names if f"`{name}`" not in text) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    broken = []
    for target in targets:
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", file):
            continue
        aim = path.parent / file if file else path
        if not aim.exists() or (anchor and anchor not in anchors(aim)):
            broken.append(target)
    assert broken == []


def anchors(path: Path) -> set[str]:
    """What GitHub calls the headings of a Markdown file."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def test_the_config_in_the_training_guide_is_one() -> None:
    (text,) = code(document("training.md"), "toml")
    Config.from_dict(tomllib.loads(text))


def test_every_objective_is_documented_with_family_aim_and_source() -> None:
    rows = table(document("training.md"), "objective")
    assert set(rows) == set(objectives.OBJECTIVES)
    for family, aim, _, source in rows.values():
        assert family in ("score", "embedding", "energy", "none")
        assert aim
        assert source


@needs_model
@pytest.mark.parametrize("shown", COMMANDS)
def test_the_documents_commands_print_what_they_show(place: Place, shown: Shown) -> None:
    command, output = shown
    printed = console.run(command, folder=place.folder, port=place.port)
    for name in re.findall(r"(?<=\s)(?:-o|--out)[ =](\S+)", command):
        check_file(place.folder / name)
    assert output or not printed, f"no output is shown; run fill_documents.py. It prints: {printed}"
    assert len(output) == len(printed), printed
    differing = [pair for pair in zip(output, printed, strict=True) if not agree(*pair)]
    assert differing == []


def check_file(path: Path) -> None:
    """A picture is what its name says; WebP and GIF move."""
    if path.suffix in (".png", ".webp", ".gif"):
        with Image.open(path) as image:
            assert image.format == path.suffix[1:].upper()
            assert getattr(image, "is_animated", False) is (path.suffix != ".png")
    else:
        assert path.stat().st_size > 0


@needs_model
@pytest.mark.parametrize("name", ["api.md", "bundles.md", "python.md"])
def test_the_python_in_the_documents_runs(place: Place, name: str) -> None:
    text = "\n".join(code(document(name), "python"))  # one program, a piece where it belongs
    subprocess.run(
        [sys.executable, "-c", text.replace(HOST, f"localhost:{place.port}")],
        cwd=place.folder,
        timeout=60,
        check=True,
    )
