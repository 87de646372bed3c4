"""The command `biject`: one click group that hands each verb to the room that owns it."""

from importlib import import_module
from keyword import iskeyword
from typing import Final

import click

ROOMS: Final = {
    "train": ("models.cli", "Train the pair of networks that a config describes."),
    "export": ("export.cli", "Write the bundle of a run: ONNX graphs, weights, manifest."),
    "import": ("export.importing", "Write the bundle of a pair that was trained elsewhere."),
    "evaluate": ("export.cli", "Measure a run or a bundle on images."),
    "calibrate": ("export.cli", "Let a bundle judge its scores by those of normal images."),
    "serve": ("serving.cli", "Serve a folder of bundles over HTTP."),
    "encode": ("serving.cli", "Write the latents of images."),
    "reconstruct": ("serving.cli", "Write G(E(x)) of images."),
    "score": ("serving.cli", "Write how abnormal images are."),
    "sample": ("serving.cli", "Write images drawn from the prior."),
    "interpolate": ("serving.cli", "Write a morph through images."),
    "bench": ("serving.bench", "Measure a running server, or the engine."),
    "doctor": ("serving.doctor", "Say what is installed and loads here, and try it."),
}  # verb: its room, and a line for `biject --help`, which imports no room
NEEDS: Final = {
    "models.cli": "train",
    "export.cli": "export",
    "export.importing": "export",
}  # room: the extra it comes with
OWN: Final = ("models", "export", "serving")


class Rooms(click.Group):
    """Imports a room only when one of its verbs is used: torch alone takes a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the work."""
        return list(ROOMS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb's command, from its room."""
        if name not in ROOMS:
            return None
        room, _ = ROOMS[name]
        try:
            attribute = f"{name}_" if iskeyword(name) else name
            command: click.Command = getattr(import_module(room), attribute)
        except ModuleNotFoundError as error:
            if room not in NEEDS or (error.name or "").split(".")[0] in OWN:
                raise
            raise click.UsageError(
                f"biject {name} needs {error.name}: run scripts/install, or in the clone "
                f"pip install --constraint constraints.txt '.[{NEEDS[room]}]'"
            ) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs in `biject --help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in ROOMS.items()])


@click.group(cls=Rooms)
@click.version_option(package_name="biject")
def main() -> None:
    """Train pairs of networks G: Z -> X and E: X -> Z, export them to ONNX and serve them."""


if __name__ == "__main__":
    main()
