"""Draw look.png beside this file: `python -m docs.images.make_look`."""

import tempfile
from pathlib import Path

from PIL import Image

from client.data.check.dataset_check import check_dataset
from client.data.check.expected import Expected
from client.data.look import Look, write_look
from client.data.manifest.splits import CohortKey, Split
from shared.job.schema import load_job
from simulate.data.phantom import make_phantom

PROJECT = Path(__file__).parents[2]


def picture() -> Image.Image:
    """Return the contact sheet of the hospitals that the quickstart makes, four images each."""
    job = load_job(PROJECT / "configs" / "jobs" / "quickstart.toml")
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_phantom("phantom-brain", Path(folder), job.job.seed)
        report = check_dataset(manifest, Expected.of(job), split=Split(CohortKey.drawn(job.job.seed)))
        out = Path(folder) / "look"
        write_look(report, Look(job, most=4, seed=0), out)
        return Image.open(out / "contact-sheet.png").quantize(128, Image.Quantize.FASTOCTREE)


if __name__ == "__main__":
    picture().save(Path(__file__).with_name("look.png"), optimize=True)
