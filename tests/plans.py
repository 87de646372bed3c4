"""A plan whose batches are as large as a test wants them."""


class Fixed:
    """Batches of at most `rows` rows, each said to take `seconds`, whatever its size."""

    def __init__(self, rows: int, seconds: float = 1e-4) -> None:
        self.rows, self.time = rows, seconds

    def seconds(self, graph: str, rows: int) -> float:
        return self.time

    def most(self, graph: str) -> int:
        return self.rows

    def take(self, graph: str, waiting: int) -> int:
        return min(waiting, self.rows)
