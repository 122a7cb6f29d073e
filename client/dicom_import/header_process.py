"""A process that reads headers: names of files come in, a line each batch, and their headers go out."""

from typing import Any

from client.data.line_processes import serve
from client.dicom_import.scan import read_batch


def main() -> None:
    """Answer until the process that asks closes the pipe, or is gone."""
    serve(lambda _: _answer)


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    return {"headers": read_batch(question["paths"])}


if __name__ == "__main__":
    main()
