"""A coordinator that lies to honest hospitals, whose policy, books and logs are on disk."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.pki.certificates import key_fingerprint, load_key
from shared.privacy.secagg.records import STATISTICS, TRAIN, VALIDATION
from shared.privacy.secagg.wide import decode
from tests.conftest import SITES, write_dataset
from tests.simulate.federation.absent_coordinator import AbsentCoordinator
from tests.simulate.federation.secure_hospitals import (
    Coordinator,
    Hospitals,
    RefusedError,
    renamed,
    same_model,
)

pytestmark = pytest.mark.slow

FEWER = SITES[:3]


@pytest.fixture(scope="module")
def joined(tiny_data: Path, tmp_path_factory) -> dict[str, Path]:
    """Return the folders of four hospitals that have joined a federation; nobody serves them yet."""
    with AbsentCoordinator(tmp_path_factory.mktemp("federation")) as federation:
        return {site: federation.enrol(site, {"discs": tiny_data}) for site in SITES}


@pytest.fixture
def folders(joined: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Return folders of hospitals that have never been in a sum."""
    return {site: Path(shutil.copytree(folder, tmp_path / site)) for site, folder in joined.items()}


@pytest.fixture
def job(tiny_job) -> JobSpec:
    return tiny_job(privacy_secure_aggregation=True)


@pytest.mark.parametrize("phase", [TRAIN, VALIDATION])
def test_no_part_is_read_out_of_a_sum_by_sending_other_models(folders, job, phase):
    with Hospitals(folders) as hospitals:
        names = iter(f"attempt-{number}" for number in range(9))

        def attempt() -> Coordinator:
            """Begin with a job in whose rounds no model was seen yet."""
            return Coordinator(hospitals, renamed(job, job_name=next(names)))

        coordinator = attempt()
        model = coordinator.first
        dead = np.zeros_like(model)  # of it nearly all gradients are zero
        models = {"delta": model} | same_model(dead, FEWER)

        with pytest.raises(RefusedError, match="is not what the sites of this round have signed"):
            coordinator.sum(models, round_=2, phase=phase)

        coordinator = attempt()

        def of_its_own(site, session):
            return coordinator.header(models[site], 2, phase, session)

        with pytest.raises(RefusedError, match="is to work on another model than this site"):
            coordinator.sum(models, round_=2, phase=phase, headers=of_its_own)
        # A sum that is begun for one purpose serves no other.
        other = VALIDATION if phase == TRAIN else TRAIN
        coordinator = attempt()

        def of_another_phase(_, session):
            return coordinator.header(model, 2, other, session)

        with pytest.raises(RefusedError, match="and the request of something else"):
            coordinator.sum(same_model(model, SITES), round_=2, phase=phase, headers=of_another_phase)
        attempt().sum(same_model(model, SITES), round_=2, phase=phase).total()  # the honest way


@pytest.mark.parametrize("least", [1, 2])
def test_a_sum_has_no_training_loss_of_hospitals_that_tell_of_groups_alone(folders, job, tmp_path, least):
    manifest = write_dataset(tmp_path / "more", patients=6)  # two of whom train at each hospital
    for folder in folders.values():
        text = (folder / "site.toml").read_text()
        text = re.sub(r"(?m)^min_group = 1$", f"min_group = {least}", text)
        text = re.sub(r"(?m)^manifest = .*$", f'manifest = "{manifest}"', text)
        (folder / "site.toml").write_text(text)
    with Hospitals(folders) as hospitals:
        coordinator = Coordinator(hospitals, job)
        mean = coordinator.train(same_model(coordinator.first, SITES))
    assert np.isfinite(mean.loss) == (least == 1)
    assert np.isfinite(mean.vector).all()


@pytest.mark.parametrize("phase", [TRAIN, VALIDATION])
def test_no_difference_of_two_sums_shows_a_site_whatever_the_job_is_called(folders, job, phase):
    with Hospitals(folders) as hospitals:
        coordinator = Coordinator(hospitals, job, run=1)
        first = coordinator.first
        coordinator.sum(same_model(first, SITES), phase=phase)
    changed = np.nextafter(first, np.float32(2), dtype=np.float32)
    again = renamed(job, job_name="another")
    same, near = "this round was summed before over", r"(?s)nearly the same model .*another \[job\] seed"
    if phase != TRAIN:  # over other sites nothing is, whatever the model
        same = near = "figures of these patients were summed before over other sites"
    with Hospitals(folders) as hospitals:  # all were restarted
        with pytest.raises(RefusedError, match=same):
            Coordinator(hospitals, job, run=2).sum(same_model(first, FEWER), phase=phase)
        with pytest.raises(RefusedError, match=near):
            Coordinator(hospitals, again, run=3).sum(same_model(first, FEWER), phase=phase)
        for name, vector in {"ulp": changed, "step": first * np.float32(1.001)}.items():
            with pytest.raises(RefusedError, match=near):
                Coordinator(hospitals, renamed(job, job_name=name), run=4).sum(
                    same_model(vector, FEWER), round_=2, phase=phase
                )
        with pytest.raises(RefusedError, match=near):  # in the same job too
            Coordinator(hospitals, job, run=5).sum(same_model(changed, FEWER), round_=2, phase=phase)
        clipped = Coordinator(hospitals, renamed(job, update_clip=1.0), run=9)
        with pytest.raises(RefusedError, match="other settings"):  # only a large update would be clipped
            clipped.sum(same_model(first, SITES), phase=phase)
        # What honest researchers do: the same again, other seeds, and the next round without a site.
        Coordinator(hospitals, again, run=6).sum(same_model(first, SITES), phase=phase)
        if phase != TRAIN:
            return  # metrics are summed over all of them
        reseeded = Coordinator(hospitals, renamed(job, job_seed=6), run=7)
        reseeded.sum(same_model(reseeded.first, FEWER), phase=phase)
        next_model = reseeded.first + np.float32(0.001) * first
        reseeded.sum(same_model(next_model, SITES[1:]), round_=2, phase=phase)


def constant(coordinator: Coordinator, scale: float) -> np.ndarray:
    """Return a model that finds the structure everywhere, whatever the scale of its one number."""
    network = build_model(coordinator.job)
    with torch.no_grad():
        for value in network.parameters():
            value.zero_()
        *_, bias = (value for name, value in network.named_parameters() if name.endswith("bias"))
        bias[1] = scale
    return coordinator.layout.pack(network)


def test_no_difference_of_two_evaluations_shows_a_site_whatever_the_models_are(folders, job):
    """Models that compute the same and are far apart: the difference would be delta's own states."""
    with Hospitals(folders) as hospitals:
        first = Coordinator(hospitals, job, run=1)
        first.sum(same_model(constant(first, 1.0), SITES), phase=VALIDATION).total()
        fewer = Coordinator(hospitals, renamed(job, job_seed=6), run=2)
        with pytest.raises(RefusedError, match="the difference would be that of delta"):
            fewer.sum(same_model(constant(fewer, 300.0), FEWER), phase=VALIDATION)
        # Another round, another model that was trained: the images of each class are the same.
        with pytest.raises(RefusedError, match="the difference would be that of delta"):
            first.sum(same_model(first.first, FEWER), round_=2, phase=VALIDATION)


@pytest.fixture
def counting(tiny_job) -> JobSpec:
    """Return a job that weighs classes by the counts of all sites."""
    return tiny_job(privacy_secure_aggregation=True, task_class_weights="federation")


def ask_for_statistics(coordinator: Coordinator, sites: tuple[str, ...]) -> np.ndarray:
    """Carry the sum before round 1 through with some sites, and return what it tells."""
    models = same_model(coordinator.first, sites)
    return decode(coordinator.sum(models, round_=0, phase=STATISTICS).total())


def test_no_difference_of_two_sums_of_statistics_shows_a_site(folders, counting):
    with Hospitals(folders) as hospitals:
        counts = ask_for_statistics(Coordinator(hospitals, counting), SITES)
        assert counts.sum() > 0
    with Hospitals(folders) as hospitals:  # all were restarted
        with pytest.raises(RefusedError, match="the difference would be that of delta"):
            ask_for_statistics(Coordinator(hospitals, counting, run=2), FEWER)
        with pytest.raises(RefusedError, match="the difference would be that of delta"):
            ask_for_statistics(Coordinator(hospitals, renamed(counting, job_seed=6), run=3), FEWER)
        again = Coordinator(hospitals, renamed(counting, job_name="another"), run=4)
        assert ask_for_statistics(again, SITES).tolist() == counts.tolist()


def test_the_sites_of_a_sum_believe_one_set_of_statistics(folders, counting):
    """One site gets other sums: its update could be told from the others' in their mean."""
    with Hospitals(folders) as hospitals:
        coordinator = Coordinator(hospitals, counting)
        coordinator.statistics = told = ask_for_statistics(coordinator, SITES).tolist()
        models, honest = same_model(coordinator.first, SITES), coordinator.request

        def to_one_site(vector, round_, phase=TRAIN):
            coordinator.statistics = told[::-1] if next(asked) == "delta" else told
            return honest(vector, round_, phase)

        asked = iter(["header", *SITES])
        coordinator.request = to_one_site
        with pytest.raises(RefusedError, match="is not what the sites of this round have signed"):
            coordinator.sum(models)
        coordinator.request = honest

        def of_its_own(site, session):
            coordinator.statistics = told[::-1] if site == "delta" else told
            return coordinator.header(coordinator.first, 1, TRAIN, session)

        with pytest.raises(RefusedError, match="another model than this site, or with other settings"):
            coordinator.sum(models, headers=of_its_own)


def test_a_sum_of_statistics_serves_nothing_else(folders, counting, job):
    with Hospitals(folders) as hospitals:
        coordinator = Coordinator(hospitals, counting)
        models = same_model(coordinator.first, SITES)

        def header_of(phase):
            return lambda _, session: coordinator.header(coordinator.first, 0, phase, session)

        with pytest.raises(RefusedError, match="and the request of something else"):
            coordinator.sum(models, round_=0, phase=STATISTICS, headers=header_of(TRAIN))
        honest = coordinator.request
        coordinator.request = lambda vector, round_, _: honest(vector, 1, TRAIN)
        with pytest.raises(RefusedError, match="asks for no sums before its first round"):
            coordinator.sum(models, round_=0, phase=STATISTICS, headers=header_of(STATISTICS))
        plain = Coordinator(hospitals, job)
        with pytest.raises(RefusedError, match="asks for no sums before its first round"):
            plain.sum(same_model(plain.first, SITES), round_=0, phase=STATISTICS)


def pin(folders: dict[str, Path], site: str, others: tuple[str, ...]) -> None:
    """Write the keys of other sites into a site's [peers]."""
    lines = [
        f'{other} = "{key_fingerprint(load_key(folders[other] / "keys" / "site.key").public_key())}"'
        for other in others
    ]
    file = folders[site] / "site.toml"
    file.write_text(file.read_text().replace("[peers]", "\n".join(["[peers]", *lines])))


def test_pinned_sites_are_summed_and_no_others(folders, job):
    for site in SITES:  # a site needs no entry for itself
        pin(folders, site, tuple(other for other in SITES if other not in (site, "delta")))
    with Hospitals(folders) as hospitals:
        coordinator = Coordinator(hospitals, job)
        with pytest.raises(RefusedError, match="delta has a key, and it is not among the pinned keys"):
            coordinator.sum(same_model(coordinator.first, SITES))
        coordinator.sum(same_model(coordinator.first, FEWER)).total()


def test_a_worker_process_refuses_both_and_remembers_across_a_restart(folders, job):
    with Hospitals(folders, processes={"alpha"}) as hospitals:
        coordinator = Coordinator(hospitals, job)
        model = coordinator.first
        with pytest.raises(RefusedError, match="is not what the sites of this round have signed"):
            coordinator.sum({"delta": model} | same_model(np.zeros_like(model), FEWER), round_=2)
        coordinator.sum(same_model(model, SITES))
        hospitals.restart("alpha")
        again = Coordinator(hospitals, renamed(job, job_name="another"), run=2)
        with pytest.raises(RefusedError, match="nearly the same model was summed before"):
            again.sum(same_model(model, FEWER))
