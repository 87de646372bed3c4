"""The parts of a form, put together from what python-multipart tells while it reads."""

from typing import NamedTuple

from python_multipart.multipart import parse_options_header

from serving.errors import BadRequest, TooLarge


class FormPart(NamedTuple):
    """One field of a form."""

    name: str
    data: bytes
    filename: str | None  # None: it is no file


class FormParts:
    """What the parser tells, collected.

    Raises TooLarge for more than `max_parts`, BadRequest for a part without a name.
    """

    def __init__(self, max_parts: int) -> None:
        self.parts: list[FormPart] = []
        self.finished = False
        self._max_parts = max_parts
        self._begin_header()
        self._disposition = b""
        self._pieces: list[bytes] = []

    def _begin_header(self) -> None:
        self._field = b""
        self._value = b""

    def begin(self) -> None:
        if len(self.parts) >= self._max_parts:
            raise TooLarge(f"more than {self._max_parts} parts in one form")
        self._disposition = b""
        self._pieces = []

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._begin_header()

    def data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def end(self) -> None:
        kind, options = parse_options_header(self._disposition)
        name = options.get(b"name")
        if kind != b"form-data" or name is None:
            raise BadRequest("malformed multipart/form-data: a part without a name")
        filename = options.get(b"filename")
        self.parts.append(
            FormPart(
                name.decode("utf-8", "replace"),
                b"".join(self._pieces),
                None if filename is None else filename.decode("utf-8", "replace"),
            )
        )

    def finish(self) -> None:
        self.finished = True
