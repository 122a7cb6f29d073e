"""From the options of the command line to the hospitals of a simulation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from client.data.check.dataset_check import check_parts
from client.data.check.expected import Expected
from client.data.check.problems import require_none
from client.data.kinds import KINDS, file_columns
from client.data.manifest.pooled_sites import Part, Row
from client.data.manifest.rows import scan_manifest
from client.data.manifest.splits import CohortKey, Split, SplitTable
from client.data.samples.job_rows import ManifestsAtHand
from client.guard.cohort import Cohort
from client.guard.site_cohort import SiteCohort
from client.settings.policy import PolicyTable
from client.settings.site import DatasetTable, SiteConfig, SiteTable, load_site
from server.report.few_patients import few_choose
from shared.errors import DataError, JobError, SiteError
from shared.further_metrics import METRICS
from shared.job.schema import JobSpec
from shared.networks import NETWORKS
from shared.notify.settings import NotifyTable
from shared.strategies import STRATEGIES
from shared.tasks import TASKS
from shared.tasks.fields import image_columns_of, may_lack_images, needed_columns, written_fields_of
from simulate.data.partition import partition, site_name, write_site_manifests
from simulate.data.phantom import PHANTOMS, make_phantom

# Whoever simulates has the data before them and chose what is installed; hospitals decide for themselves.
# Counts are rounded here, too.
OPEN_POLICY = PolicyTable(
    tasks=list(TASKS) if TASKS.package else None,
    networks=list(NETWORKS) if NETWORKS.package else None,
    strategies=list(STRATEGIES) if STRATEGIES.package else None,
    metrics=list(METRICS) if METRICS.package else None,
    kinds=list(KINDS) if KINDS.package else None,
    group_columns=["*"],
    min_group=1,
    min_patients_in_update=1,
    share_site_metrics=True,
    share_private_counts=True,
    share_private_metrics=True,
    distributed_noise=True,
    compile=True,
)


def sites_from_files(paths: Sequence[Path]) -> list[SiteConfig]:
    """Read hospitals from their own configuration files.

    Raises:
        SiteError: A file can't be used, or two have the same name.
    """
    # Nobody is told of a rehearsal, and whom a hospital tells has no place in a run's folder.
    sites = [load_site(path).model_copy(update={"notify": NotifyTable()}) for path in paths]
    for index, site in enumerate(sites):
        if site.name in {other.name for other in sites[:index]}:
            raise SiteError(f"the name '{site.name}' is another site's too", where=paths[index])
    return sites


def find_manifest(job: JobSpec, data: Path | None, out: Path) -> Path:
    """Return the manifest that the sites share; synthetic hospitals are made where the job names them.

    Raises:
        JobError: The job needs real data and none was given.
    """
    if data is not None:
        return data / "manifest.csv" if data.is_dir() else data
    if job.job.dataset in PHANTOMS:
        folder = out / ".phantoms" / f"{job.job.dataset}-{job.job.seed}"
        return make_phantom(job.job.dataset, folder, job.job.seed)
    raise JobError(
        f"the dataset '{job.job.dataset}' is not synthetic, so its images are needed",
        where="[job] dataset",
        remedy="Give --data FOLDER (or its manifest.csv), or the hospitals' own files with --site SITE.toml.",
    )


def sites_of_manifest(job: JobSpec, manifest: Path, shares: SplitTable) -> list[SiteConfig]:
    """Return one site for each value of the manifest's column 'site'.

    Raises:
        DataError: The manifest can't be read, has no such column, or a value of it makes no name.
    """
    needs = needed_columns(written_fields_of(job))
    found = scan_manifest(manifest, image_columns_of(job), needs, may_lack_images=may_lack_images(job))
    if "site" not in found.columns:
        raise DataError(
            "has no column 'site'",
            where=manifest,
            remedy="Cut the dataset into hospitals: --sites 4 --partition iid, or dirichlet:0.3.",
        )
    values: dict[str, str] = {}
    for record in found.records:
        value = record.site or ""
        name = site_name(value)
        if not name or values.setdefault(name, value) != value:
            same = f"gives the same name as '{values[name]}'" if name else "makes no name of a site"
            raise DataError(f"'{value}' in the column 'site' {same}", where=found.at(record))
    return [_site(name, job, manifest, value, shares) for name, value in sorted(values.items())]


def sites_of_partition(
    job: JobSpec, manifest: Path, count: int | None, scheme: str, folder: Path, *, shares: SplitTable
) -> list[SiteConfig]:
    """Cut a dataset into sites; each gets a manifest of its own below `folder`."""
    rows = partition(manifest, count, scheme, job.job.seed)
    manifests = write_site_manifests(manifest, rows, folder, files=file_columns(job))
    return [_site(name, job, path, None, shares) for name, path in manifests.items()]


def check_sites(
    job: JobSpec,
    sites: Sequence[SiteConfig],
    cohorts: Mapping[str, Cohort | None],
    track: Callable[[Sequence[Row]], Iterable[Row]] = iter,
) -> list[str]:
    """Read every site's manifest and files before anything is started, as `wardround data check` does.

    Args:
        job: What the data are for.
        sites: All hospitals.
        cohorts: Of those with keys of their own.
        track: Wraps the rows, to show progress.

    Returns:
        Warnings about the data of all sites together.

    Raises:
        WardroundError: A site has no such dataset, refuses the job, or its data can't be used; all that is
            wrong with the data is named at once.
    """
    for site in sites:
        site.admit(job)
    parts = [_part(job, site, cohorts.get(site.name)) for site in sites]
    report = check_parts(parts, Expected.of(job), track=track)
    require_none(report.errors)
    manifests = ManifestsAtHand()
    chosen = (SiteCohort(site, cohorts.get(site.name), manifests).load(job) for site in sites)
    choose = sum(data.patients["val"] for data in chosen)
    return [*report.warnings, *few_choose(job, choose)]


def only_testing(
    job: JobSpec, sites: Sequence[SiteConfig], cohorts: Mapping[str, Cohort | None]
) -> list[str]:
    """Return the names of the hospitals that have test patients alone; arguments as `check_sites` has."""
    manifests = ManifestsAtHand()
    loaded = ((site.name, SiteCohort(site, cohorts.get(site.name), manifests).load(job)) for site in sites)
    return [name for name, data in loaded if not data.patients["train"] and not data.patients["val"]]


def _part(job: JobSpec, site: SiteConfig, cohort: Cohort | None) -> Part:
    dataset = site.dataset(job.job.dataset)
    split = Split(CohortKey.drawn(job.job.seed), dataset.split)
    if cohort is not None:
        split = cohort.split(job.job.dataset, dataset.split, dataset.collection)
    return Part(dataset.manifest, split, dataset.site, site.name)


def _site(name: str, job: JobSpec, manifest: Path, value: str | None, shares: SplitTable) -> SiteConfig:
    dataset = DatasetTable(manifest=manifest.resolve(), site=value, split=shares)
    return SiteConfig(
        site=SiteTable(name=name, coordinator=None),
        datasets={job.job.dataset: dataset},
        policy=OPEN_POLICY,
    )
