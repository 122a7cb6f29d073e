"""The command line as a user sees it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from wardround.cli import main


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def run(self) -> Path:
        """The run's folder, as the last line names it."""
        return Path(self.out.rstrip().rpartition("Run folder: ")[2])


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path) -> Callable[..., Said]:
    """Return a function that runs `wardround` with arguments in this process, in an empty folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments: object) -> Said:
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def simulate(cli, tiny_job_file, tiny_data) -> Callable[..., Said]:
    """Return a function that simulates the tiny job in this process; it must succeed.

    Give it options; without --site, --data or --resume it takes the tiny hospitals.
    """

    def run(*options: object, workers: str = "in-process", job: Path = tiny_job_file) -> Said:
        given = [] if {"--site", "--data", "--resume"} & set(options) else ["--data", tiny_data.parent]
        start = [] if "--resume" in options else [job]
        said = cli("simulate", *start, *given, "--workers", workers, *options)
        assert said.code == 0, said.err
        return said

    return run
