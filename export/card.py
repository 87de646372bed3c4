"""card.md: what a person wants to know of a bundle before using it, all of it from the manifest."""

from collections.abc import Iterator, Mapping
from typing import Any

from export import tables

Json = Mapping[str, Any]

UNKNOWN = "not stated"


def render(manifest: Json) -> str:
    """The card as Markdown.  Says only what the manifest says."""
    return "\n".join(_lines(manifest)) + "\n"


def _lines(manifest: Json) -> Iterator[str]:
    yield f"# {manifest['name']}, version {manifest['version']}"
    yield ""
    yield _summary(manifest)
    yield from _training(manifest.get("training", {}))
    yield from _imported(manifest.get("imported", {}))
    yield from _graphs(manifest)
    if "calibration" in manifest["score"]:
        yield from _calibration(manifest["score"]["calibration"])
    if "parity" in manifest:
        yield from _parity(manifest["parity"])
    yield from ("", "## Quality", "")
    if "quality" in manifest:
        yield from tables.markdown(manifest["quality"])
    else:
        yield "Not measured yet: `biject evaluate BUNDLE --data D --write OUT`."


def _summary(manifest: Json) -> str:
    latent = manifest["latent"]
    if "image" in manifest:
        image = manifest["image"]
        kind = {1: "grey", 3: "RGB"}.get(image["channels"], f"{image['channels']}-channel")
        what = f"{kind} images of {image['height']}x{image['width']} pixels"
    else:
        what = f"vectors of {manifest['vector']['size']} numbers"
    made = " ".join(str(manifest[key]) for key in ("pairing", "objective") if key in manifest)
    origin = f"  Trained as {made}." if made else ""
    return (
        f"A generator and an encoder between {what} and {latent['size']} latent numbers "
        f"with a {latent['prior']} prior.{origin}"
    )


def _training(training: Json) -> Iterator[str]:
    if not training:
        return
    rows = {
        "data": training.get("data"),
        "licence of the data": training.get("licence"),
        "images trained on": training.get("items"),
        "held out": _held_out(training),
        "steps": training.get("steps"),
        "time": _duration(training.get("seconds")),
        "device": training.get("device"),
        "command": "<br>".join(f"`{command}`" for command in training.get("commands", ())),
        "export": f"`{training['export']}`" if training.get("export") else None,
    }
    yield from ("", "## Training", "", "| | |", "|---|---|")
    for name, value in rows.items():
        yield f"| {name} | {UNKNOWN if value in (None, '') else value} |"


def _imported(origin: Json) -> Iterator[str]:
    if not origin:
        return
    yield from ("", "## Trained elsewhere", "", "| | |", "|---|---|")
    for what in ("encoder", "decoder"):
        found = origin[what]
        named = f"{found['file']}, SHA-256 {found['sha256']}" if "file" in found else None
        yield f"| {what} | {named or found['function']} |"
    low, high = origin["range"]
    yield f"| images | {origin['layout']}, {low:g} to {high:g} |"


def _held_out(training: Json) -> object:
    count, config = training.get("held_out"), training.get("config")
    group = config.get("data", {}).get("group") if isinstance(config, dict) else None
    return f"{count}; no `{group}` of theirs was trained on" if count and group else count


def _graphs(manifest: Json) -> Iterator[str]:
    yield from ("", "## Graphs", "", "| graph | in | out |", "|---|---|---|")
    for name, graph in manifest["graphs"].items():
        sides = (", ".join(_tensor(t) for t in graph[side]) for side in ("inputs", "outputs"))
        yield f"| {name} | " + " | ".join(sides) + " |"
    score = manifest["score"]
    yield ""
    yield f"Score terms: {', '.join(score['terms'])}; {score['default']} unless another is asked."


def _calibration(calibration: Json) -> Iterator[str]:
    count = len(next(iter(calibration["scores"].values()), ()))
    yield from ("", "## Calibration", "")
    yield (
        f"Scores are judged by those of {count:,} normal images "
        f"({calibration.get('source') or UNKNOWN}); below a rate of {1 / (count + 1):.2g} "
        "nothing can be flagged."
    )


def _parity(parity: Json) -> Iterator[str]:
    batches = ", ".join(map(str, parity["batches"]))
    yield from ("", "## Parity with torch", "")
    yield f"Largest absolute error of each output on the {parity['device']}, batches of {batches}:"
    yield from ("", "| output | error |", "|---|---|")
    for graph, outputs in parity["errors"].items():
        for output, error in outputs.items():
            yield f"| {graph}: {output} | {error:.3g} |"


def _tensor(tensor: Json) -> str:
    return f"{tensor['name']} {tensor['dtype']} [{', '.join(map(str, tensor['shape']))}]"


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
