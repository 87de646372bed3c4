"""The command `biject`: one click group that hands each verb to the room that owns it."""

from importlib import import_module
from typing import Final

import click

ROOMS: Final = {
    "train": "models.cli",
    "export": "export.cli",
    "evaluate": "export.cli",
    "serve": "serving.cli",
    "encode": "serving.cli",
    "reconstruct": "serving.cli",
    "score": "serving.cli",
    "sample": "serving.cli",
    "interpolate": "serving.cli",
}
NEEDS: Final = {"models.cli": "train", "export.cli": "export"}  # room: the extra it comes with


class Rooms(click.Group):
    """Imports a room only when one of its verbs is used: torch alone takes a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the work."""
        return list(ROOMS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb's command, from its room."""
        if name not in ROOMS:
            return None
        try:
            room = import_module(ROOMS[name])
        except ModuleNotFoundError as error:
            extra = NEEDS.get(ROOMS[name])
            if extra is None or (error.name or "").split(".")[0] in ("models", "export", "serving"):
                raise
            raise click.UsageError(
                f"biject {name} needs {error.name}: install the extra with "
                f"pip install 'biject[{extra}]', or run scripts/install"
            ) from error
        command: click.Command = getattr(room, name)
        return command


@click.group(cls=Rooms)
@click.version_option(package_name="biject")
def main() -> None:
    """Train pairs of networks G: Z -> X and E: X -> Z, export them to ONNX and serve them."""


if __name__ == "__main__":
    main()
