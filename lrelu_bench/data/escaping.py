"""Text from servers and archives, made fit for a message."""


def escaped(text: str, limit: int = 120) -> str:
    """`text` without control characters or bytes that are none, cut after `limit` characters."""
    plain = "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode("ascii")
        for one in text[:limit]
    )
    return plain + ("..." if len(text) > limit else "")
