"""`biject import`: a pair that was trained elsewhere to a bundle."""

from importlib.metadata import version as installed_version
from pathlib import Path

import click

from export import foreign, store
from export.commands import one_sentence, placing, say_parity, say_place
from serving.bundle import Prior


@click.command("import")
@click.option(
    "--encoder", metavar="E", required=True,
    help="E as FILE.onnx, or as MODULE:FUNCTION that gives a torch.nn.Module.",
)  # fmt: skip
@click.option("--decoder", metavar="G", required=True, help="G, likewise.")
@click.option(
    "--range", "pixel_range", metavar="LOW,HIGH", default="-1,1", show_default=True,
    help="What black and white are to the networks.",
)  # fmt: skip
@click.option(
    "--layout", type=click.Choice(foreign.LAYOUTS), default="nchw", show_default=True,
    help="The order of an image's axes.",
)  # fmt: skip
@click.option(
    "--latent-prior", "prior", type=click.Choice(["normal", "uniform"]), default="normal",
    show_default=True, help="What G was trained on: standard normal, or uniform on (-1, 1).",
)  # fmt: skip
@click.option("--image", metavar="HxWxC", help="Size of images.  [default: as the ONNX files say]")
@click.option(
    "--fit", type=click.Choice(["stretch", "pad", "crop"]), default="stretch", show_default=True,
    help="How images are brought to that size.",
)  # fmt: skip
@click.option(
    "--out", metavar="OUT", type=click.Path(path_type=Path), help="The bundle, .../NAME/VERSION."
)
@placing
def import_(
    encoder: str,
    decoder: str,
    pixel_range: str,
    layout: foreign.Layout,
    prior: Prior,
    image: str | None,
    fit: str,
    out: Path | None,
    name: str | None,
    version: int | None,
    to_store: bool,
) -> None:
    """Write the bundle of a pair that was trained elsewhere.

    Its graphs are compared with the originals before OUT comes to exist.

    \b
    Example:
        biject import --encoder e.onnx --decoder g.onnx --range 0,1 --out my-models/faces/1
    """
    with (
        one_sentence(),
        store.placed(out, name=name, version=version, to_store=to_store) as place,
    ):
        low, high = foreign.range_of(pixel_range)
        asked = foreign.Asked(
            encoder=encoder,
            decoder=decoder,
            low=low,
            high=high,
            layout=layout,
            prior=prior,
            shape=None if image is None else foreign.shape_of(image),
        )
        manifest = foreign.write(
            asked,
            place,
            preprocess={"fit": fit, "filter": "lanczos", "background": 255},
            facts={"biject": installed_version("biject")},
            say=lambda line: click.echo(line, err=True),
        )
    say_parity(manifest, "the originals")
    say_place(place, out, to_store=to_store)
