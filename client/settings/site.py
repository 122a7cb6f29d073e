"""`site.toml`: what a hospital offers, allows and computes on."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from client.data.cache.settings import CacheTable
from client.data.manifest.splits import SplitTable
from client.health_records.settings import CohortTable
from client.settings.policy import PolicyTable, check_job, check_privacy
from client.settings.states import NoDatasetError
from shared.errors import SiteError
from shared.job.errors import describe
from shared.job.schema import JobSpec
from shared.monitoring.settings import MonitoringTable
from shared.notify.settings import NotifyTable
from shared.table import Name, Table
from shared.text.names import suggestion
from shared.toml_files import read_toml
from shared.wire.address import Address


class SiteTable(Table):
    """`[site]`: who this is."""

    name: Name = Field(description="Name of the site in the federation.")
    coordinator: Address | None = Field(None, description="Address of the coordinator, host:port.")


class DatasetTable(Table):
    """`[datasets.NAME]`: one collection of images under the name by which jobs ask for it."""

    manifest: Path = Field(
        description="CSV file with one row per image, or the folder that holds manifest.csv."
    )
    site: str | None = Field(None, description="Use only the rows whose column 'site' has this value.")
    split: SplitTable = SplitTable()
    cohort: CohortTable | None = None

    def based_on(self, folder: Path) -> Self:
        """Return it with relative paths counted from a folder."""
        cohort = None if self.cohort is None else self.cohort.based_on(folder)
        return self.model_copy(update={"manifest": folder / self.manifest, "cohort": cohort})

    @property
    def collection(self) -> str:
        """What is the same for the same patients, under whatever name: the manifest's path."""
        path = self.manifest.resolve()
        is_folder = path.is_dir() or not (path.exists() or path.suffix)  # it may not be made yet
        return str(path / "manifest.csv" if is_folder else path)


class DeviceTable(Table):
    """`[device]`: what a job computes on, and where."""

    gpu: int | None = Field(None, ge=0, description="Index of the CUDA device; without it the CPU.")
    memory_gib: Annotated[float, Field(gt=0)] | None = Field(None, description="GPU memory a job may take.")
    launcher: Literal["here", "slurm", "kubernetes"] = Field(
        "here",
        description="Where the worker runs: beside the service, or as a job of a cluster on a machine that "
        "sees the site's folder and the images at the same places; see docs/clusters.md.",
    )
    options: tuple[str, ...] = Field(
        (),
        examples=[["--partition=gpu", "--gres=gpu:1", "--time=08:00:00", "--mem=32G"]],
        description="Of sbatch, each a word: where and how large a job is. Or of kubectl: its context.",
    )
    manifest: Path | None = Field(
        None,
        examples=["training.yaml"],
        description="Of a job of Kubernetes; deploy/kubernetes/training.yaml is an example.",
    )
    idle_minutes: Annotated[float, Field(gt=0)] = Field(
        10.0, description="How long a job of a cluster waits for more work before it ends."
    )

    @model_validator(mode="after")
    def _options_of_a_launcher(self) -> Self:
        if self.launcher == "here" and self.options:
            raise ValueError('options are those of a launcher; set launcher = "slurm"')
        if self.launcher == "kubernetes" and self.manifest is None:
            raise ValueError('launcher = "kubernetes" needs the manifest of a job')
        return self


class SiteConfig(Table):
    """A hospital's configuration file."""

    site: SiteTable
    datasets: dict[Name, DatasetTable] = Field({})
    policy: PolicyTable = PolicyTable()
    device: DeviceTable = DeviceTable()
    peers: dict[Name, Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]] = Field(
        {},
        description="Fingerprints of the other sites' keys, read out by telephone: secure aggregation then "
        "believes no other site, whatever the authority has certified.",
    )
    cache: CacheTable = CacheTable()
    notify: NotifyTable = NotifyTable()
    monitoring: MonitoringTable = MonitoringTable()

    @model_validator(mode="after")
    def _caps_of_datasets(self) -> Self:
        for table in ("privacy", "counts"):
            for name in getattr(self.policy, table):
                if name not in self.datasets:  # a misspelt name would leave the dataset without its cap
                    close = suggestion(name, self.datasets)
                    raise ValueError(f"[policy.{table}.{name}] is for no dataset of this site; {close}")
        return self

    @property
    def name(self) -> str:
        """Name of the site."""
        return self.site.name

    def dataset(self, name: str) -> DatasetTable:
        """Return a dataset by the name that a job uses.

        Raises:
            NoDatasetError: The site offers no such dataset.
        """
        if name not in self.datasets:
            raise NoDatasetError(
                f"offers no dataset '{name}'",
                where=self.name,
                remedy=f"It offers {suggestion(name, self.datasets)}.",
            )
        return self.datasets[name]

    def admit(self, job: JobSpec) -> None:
        """Check a job against those rules of the policy that look at the job alone.

        Raises:
            PolicyError: The policy refuses it; the message names the rule.
        """
        check_job(self.policy, job, self.name)
        check_privacy(self.policy, job, self.name)


def load_site(path: Path) -> SiteConfig:
    """Read a site's configuration; relative paths in it count from its folder.

    Raises:
        SiteError: The file is missing, is not TOML, or has a wrong key or value.
    """
    table = read_toml(path, SiteError)
    try:
        config = SiteConfig.model_validate(table)
    except ValidationError as error:
        raise SiteError(describe(error, SiteConfig), where=path) from None
    base = path.resolve().parent
    datasets = {name: dataset.based_on(base) for name, dataset in config.datasets.items()}
    folder = config.cache.folder
    cache = config.cache.model_copy(update={"folder": None if folder is None else base / folder})
    device = config.device
    if device.manifest is not None:
        device = device.model_copy(update={"manifest": base / device.manifest})
    based = {
        "device": device,
        "notify": config.notify.based_on(base),
        "monitoring": config.monitoring.based_on(base),
    }
    return config.model_copy(update={"datasets": datasets, "cache": cache, **based})
