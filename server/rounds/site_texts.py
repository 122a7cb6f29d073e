"""What sites say of themselves, made safe to keep and to show."""

from shared.text.printable import printable

LONGEST = 300  # characters


def told(text: str, most: int = LONGEST) -> str:
    r"""Return a text that came from a site, cut short, with everything escaped that is not plain print.

    Line breaks, escape sequences and marks that turn the direction of writing become visible: ``\x1b``.
    """
    head = text[:most]
    plain = printable(head)[:most]
    return plain + "…" if len(text) > len(head) else plain
