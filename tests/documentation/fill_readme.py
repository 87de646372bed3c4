"""Write into README.md what its console commands print.

    python tests/documentation/fill_readme.py

Starts a server with the models that ship, runs the commands as test_documents.py does, and cuts
long lines.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests/, as pytest has it

from documentation import console


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        console.furnish(folder)
        with console.server(folder) as port:
            text = console.filled(
                console.README.read_text(encoding="utf-8"),
                lambda command: console.run(command, folder=folder, port=port),
            )
    console.README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
