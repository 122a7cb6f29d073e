"""What only a rehearsal sees is kept beside its run: the patients behind the figures, and some images."""

import json
from collections.abc import Mapping

import safetensors.torch
from torch import Tensor

from server.files import write_atomic
from server.runs.folder import RunFolder
from shared.metrics.replicates import TRAIN, Tables
from shared.run_folder import PATIENTS, REHEARSAL
from simulate.session.examples import chosen, read_examples
from simulate.session.judging import EXAMPLE

_INDEX = "examples.json"


def keep(run: RunFolder, answers: Mapping[str, Tables]) -> dict[str, Tables]:
    """Write tables of the test patients, and pictures of some; returns the tables without the pictures.

    Both lie in a folder of their own, which no coordinator has and `wardround fetch` doesn't copy.

    Args:
        run: The run.
        answers: What `judge` returned of each site.
    """
    folder = run.path / REHEARSAL
    folder.mkdir(exist_ok=True)
    tables: dict[str, Tables] = {site: _without(own) for site, own in answers.items()}
    content = {
        f"{site}/{name}": values.contiguous()
        for site, own in tables.items()
        for name, values in own.items()
        if name != TRAIN
    }
    write_atomic(folder / PATIENTS, safetensors.torch.save(content))
    found = [
        read_examples(
            site,
            {name.removeprefix(f"{EXAMPLE}/"): own[name] for name in own if name.startswith(f"{EXAMPLE}/")},
        )
        for site, own in answers.items()
    ]
    index = []
    for rank, example in chosen(found).items():
        write_atomic(folder / f"{rank}.png", example.png)
        caption = f"{rank.capitalize()}: {example.says} ({example.site})"
        says = f"The {rank} test image: {example.says}"
        index.append({"file": f"{rank}.png", "says": says, "caption": caption})
    write_atomic(folder / _INDEX, (json.dumps(index, indent=2) + "\n").encode())
    return tables


def _without(tables: Tables) -> dict[str, Tensor]:
    return {name: values for name, values in tables.items() if not name.startswith(f"{EXAMPLE}/")}
