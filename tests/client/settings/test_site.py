"""site.toml: what is offered and allowed; what is wrong with it is named."""

from pathlib import Path

import pytest

from client.service.check import check_site
from client.settings.site import load_site
from shared.errors import SiteError


def write(folder: Path, text: str) -> Path:
    (folder / "site.toml").write_text(text)
    return folder / "site.toml"


GOOD = '[site]\nname = "st-mary"\n[datasets.discs]\nmanifest = "data/manifest.csv"\n'


def test_paths_count_from_the_files_folder(tmp_path):
    site = load_site(write(tmp_path, GOOD + '[cache]\nfolder = "kept"\n'))
    assert site.name == "st-mary"
    assert site.dataset("discs").manifest == tmp_path / "data" / "manifest.csv"
    assert site.cache.folder == tmp_path / "kept"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[site", "TOML"),
        ("", "[site]"),
        ('[site]\nname = "St Mary"\n', "[site] name"),
        ('[site]\nname = "../etc"\n', "[site] name"),
        (GOOD + '[policy]\ntask = ["segmentation"]\n', "[policy] task 'tasks'"),
        (GOOD + '[policy]\nmax_rounds = "many"\n', "[policy] max_rounds"),
        ('[site]\nname = "a"\n[datasets.d]\nmanifests = "m.csv"\n', "'manifest'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(SiteError) as caught:
        load_site(path)
    for word in (str(path), *words.split()):
        assert word in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(SiteError, match="can't be read"):
        load_site(tmp_path / "nowhere.toml")


def test_a_dataset_that_is_not_offered(tmp_path):
    with pytest.raises(SiteError, match="'discs'"):
        load_site(write(tmp_path, GOOD)).dataset("disks")


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        ('tasks = ["classification"]', "policy.tasks"),
        ("networks = []", "policy.networks"),
        ('strategies = ["fedprox", "krum"]', "policy.strategies"),
        ("max_rounds = 2", "policy.max_rounds"),
    ],
)
def test_the_policy_decides(tmp_path, tiny_job, policy, rule):
    with pytest.raises(SiteError, match=rule):
        load_site(write(tmp_path, f"{GOOD}[policy]\n{policy}\n")).admit(tiny_job())


def test_the_policy_allows(tmp_path, tiny_job):
    load_site(write(tmp_path, GOOD)).admit(tiny_job())
    policy = (
        '[policy]\ntasks = ["segmentation"]\nnetworks = ["unet"]\nstrategies = ["fedavg"]\nmax_rounds = 3\n'
    )
    load_site(write(tmp_path, GOOD + policy)).admit(tiny_job())


@pytest.mark.parametrize(
    ("first", "second", "is_twice"),
    [
        ("", "", True),
        ('site = "north"', "", True),
        ('site = "north"', 'site = "north"', True),
        ('site = "north"', 'site = "south"', False),
    ],
)
def test_a_collection_under_two_names_is_noticed(
    tmp_path: Path, first: str, second: str, is_twice: bool
) -> None:
    """Each name has a ledger of its own, so its patients could lose twice what the cap says."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.csv").write_text("patient,image,site\n")
    (tmp_path / "site.toml").write_text(
        '[site]\nname = "st-mary"\n'
        f'[datasets.marks]\nmanifest = "data"\n{first}\n'
        f'[datasets.again]\nmanifest = "data/manifest.csv"\n{second}\n'
    )
    noticed = [finding for finding in check_site(tmp_path, offline=True) if finding.what == "name again"]
    assert [finding.state for finding in noticed] == ["warning"] * is_twice
