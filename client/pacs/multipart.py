"""The parts of a multipart answer (RFC 2046), as they come: no more than a piece of one is in memory."""

from collections.abc import Iterator
from email.message import Message

LONGEST_HEADER = 2**14


class Parts:
    """Iterates over parts, each an iterator of its pieces.

    Args:
        kind: The answer's Content-Type.
        pieces: The answer's bytes.

    Raises:
        ValueError: The kind names no boundary; while iterating, the answer is cut or malformed.
    """

    def __init__(self, kind: str, pieces: Iterator[bytes]) -> None:
        message = Message()
        message["content-type"] = kind
        boundary = message.get_param("boundary")
        if message.get_content_maintype() != "multipart" or not isinstance(boundary, str) or not boundary:
            raise ValueError("it is not multipart")
        self._mark = b"\r\n--" + boundary.encode()
        self._pieces = pieces
        self._held = b"\r\n"  # the first mark may stand at the begin

    def __iter__(self) -> Iterator[Iterator[bytes]]:
        """Give the parts; what is left of one is skipped."""
        for _ in self._until_mark():
            pass  # what stands before the first part
        while self._has_next():
            self._skip_header()
            part = self._until_mark()
            yield part
            for _ in part:
                pass

    def _until_mark(self) -> Iterator[bytes]:
        """Give what stands before the next mark, and stop behind it."""
        while True:
            place = self._held.find(self._mark)
            if place >= 0:
                found, self._held = self._held[:place], self._held[place + len(self._mark) :]
                if found:
                    yield found
                return
            kept = len(self._mark) - 1  # it may begin at the end of what is held
            if len(self._held) > kept:
                found, self._held = self._held[:-kept], self._held[-kept:]
                yield found
            self._more()

    def _has_next(self) -> bool:
        """Say whether a part follows a mark; two dashes end the whole."""
        while len(self._held) < 2:
            self._more()
        return not self._held.startswith(b"--")

    def _skip_header(self) -> None:
        while (place := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > LONGEST_HEADER:
                raise ValueError("a part has no end of its header")
            self._more()
        self._held = self._held[place + 4 :]

    def _more(self) -> None:
        piece = next(self._pieces, b"")
        if not piece:
            raise ValueError("it ends in the middle")
        self._held += piece
