"""Write into README.md, docs/api.md and docs/recipes.md what their commands and programs print.

    python tests/documentation/fill_documents.py

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
            for document in console.DOCUMENTS:
                text = console.filled(
                    document.read_text(encoding="utf-8"),
                    lambda command: console.run(command, folder=folder, port=port),
                )
                document.write_text(text, encoding="utf-8")
            place = Place(folder, port)
            book = recipes.filled(
                recipes.RECIPES.read_text(encoding="utf-8"), lambda step: recipes.run(step, place)
            )
            recipes.RECIPES.write_text(book, encoding="utf-8")


if __name__ == "__main__":
    main()
