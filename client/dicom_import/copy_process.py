"""A process that writes de-identified copies: names of files come in, and what went wrong goes out."""

from client.data.line_processes import serve
from client.data.manifest.splits import CohortKey
from client.dicom_import.clean_copies import answer
from client.dicom_import.pseudonyms import Pseudonyms


def main() -> None:
    """Answer until the process that asks closes the pipe, or is gone."""
    serve(lambda told: answer(Pseudonyms(CohortKey(bytes.fromhex(told["key"])))))


if __name__ == "__main__":
    main()
