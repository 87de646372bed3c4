"""Write into README.md and docs/api.md what their console commands print.

    python tests/documentation/fill_documents.py

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
            for document in console.DOCUMENTS:
                text = console.filled(
                    document.read_text(encoding="utf-8"),
                    lambda command: console.run(command, folder=folder, port=port),
                )
                document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
