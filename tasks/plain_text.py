"""Text that others wrote, made fit for where it is shown: one line, no control characters, no markup that takes effect."""

import re

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>])")


def one_line(text: str) -> str:
    """The text on one line; what cannot be seen or turns the writing direction becomes a space."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def markdown(text: str) -> str:
    """The text on one line, shown as it is where Markdown is read: no markup, no HTML, nobody called by an @."""
    plain = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(r"\\\1", plain).replace("@", "@\N{ZERO WIDTH SPACE}")


def ascii_line(text: str) -> str:
    """The text on one line in ASCII, as old formats need it; other characters become question marks."""
    return one_line(text).encode("ascii", "replace").decode()
