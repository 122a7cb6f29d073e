"""Are changed files read right or refused in words? Millions of them, of every kind that is read.

    python benchmarks/fuzz_readers.py [--inputs 20000] [--run 1] [--only DICOM] [--keep FOLDER] [--quick]

Small valid files are changed by seeded mutations (bytes, fields, lengths, packed bombs, deep sequences) and
read as `wardround data check` and training read them. Each must end as an image with finite numbers, or as an
error in words: no other exception, nothing printed, no crash, at most 5 s of processor time and 1 GiB; and a
file that is cut or whose checksum is wrong has the numbers of the whole one or is refused. Where SimpleITK
reads the file too, it reads the same values. One process reads; where it hangs or dies,
the next input follows.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))  # a script, run from anywhere
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")  # before it is loaded
os.environ.setdefault("OMP_NUM_THREADS", "1")

import psutil  # noqa: E402
from common import conditions, finish  # noqa: E402
from fuzz_files import Seed, seeds  # noqa: E402
from fuzz_worker import LONGEST, OUTCOMES, Board, input_of, work  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

QUICK = 1500
_LOOK = 0.25  # seconds between looks at the worker
_STUCK = 60.0  # seconds without an end, whatever the processor does
_EXAMPLES = 25


def main() -> None:
    """Print a row per format and each kind of finding; fails where there is one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--run", default="1", help="what the changes are drawn from")
    parser.add_argument("--only", default="", help="kinds that begin with this")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that are findings")
    parser.add_argument("--quick", action="store_true", help="a few of each kind; held to no figure")
    options = parser.parse_args()
    files = [seed for seed in seeds() if seed.kind.startswith(options.only)]
    inputs = QUICK if options.quick else options.inputs
    board = Board.shared(len(files))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wardround-fuzz-") as folder:
        noted = Path(folder) / "findings.jsonl"
        noted.touch()
        peak = supervised(inputs, files, options.run, board, noted)
        found = [json.loads(line) for line in noted.read_text().splitlines()]
    seconds = time.monotonic() - begun
    if options.keep:
        kept(found, files, options.run, options.keep)
    kinds = grouped(found)
    formats = per_format(files, board)
    console = Console(width=140)
    console.print(tables(formats, kinds))
    figures: dict[str, Any] = {
        **conditions(),
        "inputs": int(board.tallies[:, :-1].sum()),
        "formats": formats,
        "seconds": round(seconds),
        "peak_mb": round(peak),
        "findings": {why: len(examples) for why, examples in kinds.items()},
    }
    finish("fuzz_readers", figures, list(kinds), quick=options.quick)


def supervised(inputs: int, files: list[Seed], run: str, board: Board, noted: Path) -> float:
    """Have all inputs read, by one worker after another; returns the most memory that one took, MB."""
    context = get_context("fork")  # what it loaded is there at once
    following, peak = 0, 0.0
    while following < inputs:
        worker = context.Process(target=work, args=(range(following, inputs), files, run, board, noted))
        board.state[:3] = following, 0.0, time.monotonic()
        worker.start()
        hung = watched(worker, board)
        peak = max(peak, float(board.state[3]))
        if worker.exitcode == 0 and not hung:
            return peak
        number = int(board.state[0])
        why = f"hangs: more than {LONGEST:g} s" if hung else f"the process died ({worker.exitcode})"
        with noted.open("a") as file:
            file.write(
                json.dumps({"number": number, "kind": files[number % len(files)].kind, "why": why}) + "\n"
            )
        board.tallies[number % len(files), OUTCOMES.index("finding")] += 1
        following = number + 1
    return peak


def watched(worker: BaseProcess, board: Board) -> bool:
    """Wait for the worker's end; kill it, and say so, where it hangs."""
    assert worker.pid is not None
    process = psutil.Process(worker.pid)
    while worker.is_alive():
        worker.join(_LOOK)
        try:
            used = process.cpu_times()
        except psutil.Error:
            continue
        number, begun, clock = board.state[:3]
        busy, waited = used.user + used.system - begun, time.monotonic() - clock
        if ((begun and busy > LONGEST) or waited > _STUCK) and board.state[0] == number:
            worker.kill()
            worker.join()
            return True
    worker.join()
    return False


def grouped(found: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the findings of one kind together: the same reason, whatever numbers stand in it."""
    kinds = defaultdict(list)
    for one in found:
        kinds[f"{one['kind'].split()[0]}: {re.sub(r'[0-9]+', 'N', one['why'])[:160]}"].append(one)
    return dict(sorted(kinds.items(), key=lambda pair: -len(pair[1])))


def per_format(files: list[Seed], board: Board) -> dict[str, dict[str, Any]]:
    """Return the outcomes of each format's kinds together."""
    found: dict[str, dict[str, Any]] = {}
    for seed, tally, slowest in zip(files, board.tallies, board.slowest, strict=True):
        one = found.setdefault(
            seed.kind.split()[0], {"kinds": 0, **dict.fromkeys(OUTCOMES, 0), "slowest_s": 0.0}
        )
        one["kinds"] += 1
        for outcome, count in zip(OUTCOMES, tally.tolist(), strict=True):
            one[outcome] += count
        one["slowest_s"] = max(one["slowest_s"], round(float(slowest), 2))
    return found


def tables(formats: dict[str, dict[str, Any]], kinds: dict[str, list[dict[str, Any]]]) -> Table:
    """Return what is printed: a row per format, and below it one per kind of finding."""
    table = Table("format", "kinds of file", *OUTCOMES, "slowest, s")
    for name, one in formats.items():
        table.add_row(name, *(str(one[key]) for key in ("kinds", *OUTCOMES, "slowest_s")))
    for why, examples in list(kinds.items())[:_EXAMPLES]:
        table.add_row(why, f"input {examples[0]['number']}", "", "", str(len(examples)))
    return table


def kept(found: list[dict[str, Any]], files: list[Seed], run: str, folder: Path) -> None:
    """Write the first input of each kind of finding, to be looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    for examples in grouped(found).values():
        seed, content = input_of(examples[0]["number"], files, run)
        (folder / f"{examples[0]['number']}-{seed.name}").write_bytes(content)


if __name__ == "__main__":
    main()
