"""A person who does not know a machine is told files by their names alone."""

import pytest

from shared.text.paths import without_folders


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/var/lib/coordinator/runs/a/run.json: can't be written", "run.json: can't be written"),
        ("[Errno 2] No such file: '/srv/x/starts/a.safetensors'", "[Errno 2] No such file: 'a.safetensors'"),
        ("https://example.org/v1/runs: refused", "https://example.org/v1/runs: refused"),
        ("true/false, and/or, 1/2 of 3", "true/false, and/or, 1/2 of 3"),
        ("look into superlink/console.log", "look into superlink/console.log"),
    ],
)
def test_a_file_is_named_without_its_folder(text: str, told: str) -> None:
    assert without_folders(text) == told
