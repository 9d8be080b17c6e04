"""The errors a user can cause."""

from lrelu_bench.printable import visible


class BenchError(Exception):
    """One clear sentence: the place (file, key, line), the offending value and the remedy; or several.

    The command line prints it without a traceback and exits with code 2. A name or a path in a sentence
    breaks no line and drives no terminal: what is not printable stands there as its escape, and sentences
    that are to stand on lines of their own are given one by one.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = tuple(map(visible, lines))

    def __str__(self) -> str:
        """Every sentence on its line."""
        return "\n".join(self.lines)

    @property
    def in_one_line(self) -> str:
        """All sentences, to stand within another one."""
        return "; ".join(self.lines)
