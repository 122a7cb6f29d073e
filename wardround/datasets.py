"""A dataset, as Python has it: `wardround.Dataset`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wardround.jobs import Job, as_job

if TYPE_CHECKING:
    import pandas as pd

    from client.data.check.dataset_check import Report


@dataclass(frozen=True)
class Check:
    """What `Dataset.check` found.

    Attributes:
        trainable: Whether a job could train on the data.
        patients: How many there are.
        images: How many there are; rows, where the data are a table.
        errors: What stands against training, each with its file or row.
        warnings: What is worth a look.
        report: All that was found.
    """

    trainable: bool
    patients: int
    images: int
    errors: Sequence[str]
    warnings: Sequence[str]
    report: "Report"

    @property
    def sites(self) -> "pd.DataFrame":
        """Patients and images of each hospital on each side of the split, as a table."""
        from wardround.tables import frame

        rows = [
            {"site": site, "split": side, "patients": patients, "images": images}
            for site, sides in self.report.sites.items()
            for side, (patients, images) in sides.items()
        ]
        return frame(rows)

    def __repr__(self) -> str:
        from shared.text.plural import many

        said = "can be trained on" if self.trainable else f"can't be trained on: {self.errors[0]}"
        return (
            f"<Check: {many(self.images, 'image')} of {many(self.patients, 'patient')} {said}; "
            f"{many(len(self.warnings), 'warning')}>"
        )


@dataclass(frozen=True, init=False)
class Dataset:
    """Images with their targets: a folder with a `manifest.csv`, or that file.

    >>> data = wardround.Dataset.example("phantom-brain", "examples")  # doctest: +SKIP
    >>> data.check("configs/jobs/quickstart.toml").trainable  # doctest: +SKIP
    True
    """

    path: Path

    def __init__(self, path: Path | str) -> None:
        object.__setattr__(self, "path", Path(path))

    @classmethod
    def example(cls, name: str, out: Path | str = "examples", *, seed: int = 1) -> "Dataset":
        """Make a synthetic dataset of four hospitals, as `wardround data example NAME` does.

        Args:
            name: `phantom-brain` is one; `wardround data example` lists them.
            out: Folder below which it is made; one that is there already is taken as it is.
            seed: Another one gives other patients.

        Raises:
            WardroundError: There is no such example, or the folder can't be written.
        """
        from simulate.data.example import write_example

        folder = Path(out) / name
        if not (folder / "manifest.csv").is_file():
            write_example(name, folder, seed)
        return cls(folder)

    @classmethod
    def of_folder(
        cls, folder: Path | str, *, patient: str | None = None, masks: str | None = None
    ) -> "Dataset":
        """Return the dataset of a folder of images, writing its manifest where it has none.

        Args:
            folder: BIDS, nnU-Net, Decathlon, images and masks, or a folder for each class; the last two
                also in a folder for each hospital.
            patient: Regular expression that finds the patient in an image's path.
            masks: BIDS: what the paths of the masks have in common, where there are several kinds.

        Raises:
            WardroundError: The folder follows no convention, or can't be written.
        """
        from client.data.manifest.new_manifest import write_manifest

        if not (Path(folder) / "manifest.csv").is_file():
            write_manifest(Path(folder), patient, masks)
        return cls(Path(folder))

    def check(self, job: Job | Path | str | None = None, *, site: str | None = None) -> Check:
        """Read everything and say what is there, as `wardround data check` does.

        Args:
            job: What the data are for; without one labels and masks are checked where there are some.
            site: Look at the rows with this in their column `site`; None looks at all.

        Raises:
            WardroundError: The manifest itself can't be used.
        """
        from client.data.check.dataset_check import check_dataset
        from client.data.check.expected import Expected
        from client.data.kinds.image_columns import image_columns
        from client.data.manifest.splits import CohortKey, Split

        spec = None if job is None else as_job(job).spec
        expected = Expected(images=image_columns(self.path)) if spec is None else Expected.of(spec)
        split = Split(CohortKey.drawn(0 if spec is None else spec.job.seed))  # as a simulation draws it
        report = check_dataset(self.path, expected, split=split, site=site)
        errors, warnings = list(map(str, report.errors)), list(map(str, report.warnings))
        return Check(report.trainable, report.patients, report.images, errors, warnings, report)
