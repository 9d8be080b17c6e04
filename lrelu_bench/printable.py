"""Text from elsewhere (names, paths, files) as a terminal or a page may show it: nothing in it acts."""


def visible(text: str) -> str:
    r"""The text on one line, every character that is not printable as its escape: `\x1b`, `\n`, `\u202e`.

    Those are what moves a cursor, colours, breaks a line, turns the direction of writing, or is no character
    at all. Text without them stays as it is.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def brief(text: str, limit: int = 120) -> str:
    """`visible` for what servers and archives say, however long: cut after `limit` characters."""
    return visible(text[:limit]) + ("..." if len(text) > limit else "")


def _visible(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()
