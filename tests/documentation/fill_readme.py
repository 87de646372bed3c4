"""Write into README.md and docs/recipes.md what their commands and programs print.

    python tests/documentation/fill_readme.py

Starts a server with the models that ship, runs them as the tests do, and cuts long lines.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests/, as pytest has it

from documentation import console, recipes
from documentation.console import Place


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        console.furnish(folder)
        with console.server(folder) as port:
            readme = console.filled(
                console.README.read_text(encoding="utf-8"),
                lambda command: console.run(command, folder=folder, port=port),
            )
            place = Place(folder, port)
            book = recipes.filled(
                recipes.RECIPES.read_text(encoding="utf-8"), lambda step: recipes.run(step, place)
            )
    console.README.write_text(readme, encoding="utf-8")
    recipes.RECIPES.write_text(book, encoding="utf-8")


if __name__ == "__main__":
    main()
