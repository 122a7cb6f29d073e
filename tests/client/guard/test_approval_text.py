"""What a hospital reads before it approves: true, whole, escaped, and with what is unusual."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from client.guard.approval_text import ApprovalText
from client.guard.contributors import patients_behind
from client.guard.unusual_settings import unusual
from client.training.compiler import compiler_problem
from client.web.jobs import job_view
from shared.errors import JobError
from shared.job.schema import load_job
from shared.privacy.secagg.errors import SecureAggregationError
from shared.strategies import STRATEGIES
from tests.cli import wardround
from tests.jobs import NEEDED_BY, make_job

PROJECT = Path(__file__).parents[3]
PRIVATE = {"privacy_mechanism": "dp-sgd", "strategy_weight": "equal"}
USUAL = {"strategy_min_sites": 3, "training_local_steps": 50, "training_batch_size": 16}
FORGED = "tumour\nnetwork     cnn\n\x1b[2K\x1b[1ANo image leaves.\x1b[8m"


NARROW = {"COLUMNS": "40"}


def approve(site, digest, *more):
    return wardround("client", "approve", digest, "--dir", site.folder, *more, environment=NARROW)


@pytest.mark.parametrize(
    "text",
    [
        FORGED,
        "a\u202eb",
        "a\u200bb",
        "a|b",
        "[bold]a",
        " a",
        "a ",
        "",
        "a" * 201,
        "a\n",
        "a\\nb",
        "\N{HEBREW LETTER ALEF}",
    ],
)
@pytest.mark.parametrize("key", ["task_classes", "data_images", "job_name", "job_dataset", "update_parts"])
def test_a_free_text_of_a_job_is_one_plain_line(job_of, key, text):
    with pytest.raises(JobError):
        job_of(**{key: text if key.startswith("job_") else ["no", text]})


@pytest.mark.parametrize(
    "name",
    ["No finding", "GGO (>50%)", "Läsion, links", "T1+c", "akiec", "肺炎", "β-cell", "_background_", "5"],
)
def test_classes_have_the_names_that_hospitals_give_them(job_of, name):
    assert job_of(task_classes=["no", name]).task.classes[1] == name


@given(st.lists(st.text(min_size=1), min_size=2, max_size=4, unique=True))
def test_whatever_a_job_has_in_it_the_text_is_ours(classes):
    try:
        job = make_job(task_name="classification", task_classes=classes)
    except JobError:
        return
    assert all(name.isprintable() and len(name) <= 64 for name in job.task.classes)


def text_of(site, job):
    site.describe(job)
    config = site.site.config
    return ApprovalText.of(
        site.book.find(job.digest()), config, 0, patients_behind(site.folder, config, job), 0
    ).lines()


def test_a_job_that_got_into_the_book_otherwise_is_escaped_all_the_same(make_site, job_of):
    site, job = make_site('approval = "manual"\n'), job_of()
    site.describe(job)
    forged = job.model_copy(
        update={
            "data": job.data.model_copy(update={"classes": ["no", FORGED]})
        }  # as an older version took it
    )
    seen = site.book.find(job.digest())
    object.__setattr__(seen, "spec", lambda: forged)
    lines = ApprovalText.of(seen, site.site.config, 0, "", 0).lines()
    assert all(line.isprintable() for line in lines)
    assert sum(line.startswith("network ") for line in lines) == 1
    assert sum(line.startswith("No image leaves") for line in lines) == 1


@pytest.mark.parametrize("name", [name for name, options in STRATEGIES.items() if options.at_site])
def test_what_a_strategy_keeps_here_is_said(make_site, job_of, name):
    needed = {key.replace(".", "_"): value for key, value in NEEDED_BY.get(name, {}).items()}
    site, job = make_site('approval = "manual"\n'), job_of(strategy_name=name, **needed)
    assert f"; {STRATEGIES[name].at_site}" in "\n".join(text_of(site, job))


def test_over_whom_figures_would_be_summed_is_said_where_they_were_over_others(make_site, job_of):
    site, job = (
        make_site('approval = "manual"\n'),
        job_of(privacy_secure_aggregation=True, strategy_min_sites=3),
    )
    site.describe(job)
    shown = site.folder, job.digest()
    assert "Approved, its figures" not in "\n".join(job_view(*shown).text.lines())
    site.book.sets.take("marks", ["alpha", "beta", "gamma"], "a" * 64)
    with pytest.raises(SecureAggregationError):
        site.book.sets.take("marks", ["alpha", "beta", "delta"], job.digest())
    assert "its figures are summed over alpha, beta, delta:" in "\n".join(job_view(*shown).text.lines())


def test_the_text_has_the_whole_job(make_site, job_of):
    site, job = (
        make_site('approval = "manual"\n'),
        job_of(training_weight_decay=0.0375, update_parts=["head.1"]),
    )
    text = "\n".join(text_of(site, job))
    for table, values in job.model_dump(mode="json").items():
        assert f"[{table}]" in text
        for key, value in values.items():
            assert value is None or f"  {key} = " in text
    for fact in (
        "weight_decay = 0.0375",
        "head.1",
        "after each of 3 rounds, in each 2 times at most",
        job.digest(),
    ):
        assert fact in text
    assert "behind each such update: images of 4 patients of this site" in text


@pytest.mark.parametrize("privacy", [{}, {"privacy_secure_aggregation": True, "strategy_min_sites": 3}])
@pytest.mark.parametrize("opened", [True, False])
def test_the_training_loss_is_named_where_it_leaves(make_site, job_of, opened, privacy):
    policy = 'approval = "manual"\n' + "share_site_metrics = true\n" * (not opened)
    text = "\n".join(text_of(make_site(policy, opened=opened), job_of(**privacy)))
    assert ("the training loss" in text) == opened
    assert "metrics" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training_batch_size": 1}, "a single image"),
        ({"training_local_steps": 1}, "one step"),
        ({"training_batch_size": 2, "training_local_steps": 3}, "At most 6 images"),
        ({"training_learning_rate": 5.0}, "steps are large"),
        ({"update_parts": ["head.1"]}, "Only head.1"),
        ({"update_parts": ["head.1"], "model_lora": {}}, "Only adapters and head.1 are trained"),
        ({"training_rates": {"head": 200.0}}, "The steps are large"),
        ({"training_adversarial": {"epsilon": 0.25}}, "changed by up to 0.25 before each step"),
        ({"job_rounds": 100_000}, "100000 rounds"),
        ({"strategy_min_sites": 1}, "with one site"),
        ({"strategy_min_sites": 2}, "with 2 sites"),
        ({"evaluation_bins": 1000}, "1000 bins"),
        ({"task_class_weights": "public", "task_class_shares": [1.0, 1e-6]}, "a thousand times"),
        ({"data_size": [8, 8]}, "8 x 8 pixels"),
        ({**PRIVATE, "privacy_epsilon": 50.0}, "guarantee is weak"),
        ({**PRIVATE, "privacy_epsilon": 5.0, "privacy_delta": 0.001}, "probability 0.001"),
        ({**PRIVATE, "privacy_noise_multiplier": 0.01}, "little noise"),
    ],
)
def test_what_is_unusual_is_said(job_of, changes, words):
    found = unusual(job_of(**{**USUAL, **changes}))
    assert len(found) == 1
    assert words in found[0]


def test_of_a_usual_job_nothing_is(make_site, job_of):
    assert unusual(job_of(**USUAL)) == []
    assert unusual(job_of(**USUAL, **PRIVATE, privacy_epsilon=5.0)) == []
    assert "Nothing of it is unusual." in text_of(make_site('approval = "manual"\n'), job_of(**USUAL))


@pytest.mark.parametrize(
    "file", sorted((PROJECT / "configs" / "jobs").glob("*.toml")), ids=lambda path: path.stem
)
def test_a_shipped_job_has_little_that_is_unusual(file):

    assert len(unusual(load_job(file))) <= 2


def test_a_decision_takes_more_digits_than_anybody_can_make_to_order(make_site, job_of):
    site, job = make_site('approval = "manual"\n'), job_of()
    site.describe(job)
    for short in (job.digest()[:6], job.digest()[:12], job.digest()[:19]):
        refused = approve(site, short, "--yes")
        assert refused.returncode == 2
        assert "at least 20" in refused.stderr
    assert site.describe(job) != ""
    listed = wardround("client", "jobs", "--dir", site.folder, environment=NARROW).stdout
    [digits] = [word for word in listed.split() if job.digest().startswith(word) and len(word) >= 20]
    assert approve(site, digits, "--yes").returncode == 0
    assert site.describe(job) == ""


def test_what_is_added_up_before_the_first_round_is_said(make_site, job_of):
    site = make_site()
    said = "\n".join(text_of(site, job_of(task_class_weights="federation")))
    counted = "the rounded number of training images (or voxels) of each class: no, yes"
    assert f"before the first round, {counted}" in said
    assert "before the first round" not in "\n".join(text_of(site, job_of()))


@pytest.mark.skipif(compiler_problem() is not None, reason="needs a C++ compiler")
def test_behind_masks_nothing_of_a_site_is_said_to_leave_beside_the_sum(make_site, job_of):
    job = job_of(task_class_weights="federation", privacy_secure_aggregation=True, strategy_min_sites=3)
    said = " ".join("\n".join(text_of(make_site(), job)).split())
    assert "masked: the coordinator gets their sum with the other sites' alone" in said
    assert "how much this site counts in the sum, signed" in said
    assert said.count("of each class") == 1


def test_a_compiled_network_and_other_arithmetic_are_said(make_site, job_of, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    site = make_site('approval = "manual"\ncompile = true\n')
    job = job_of(training_compile=True, training_precision="bfloat16")
    [computing] = [line for line in text_of(site, job) if line.startswith("computing")]
    assert "bfloat16, with compiled networks: PyTorch writes C++ code" in computing


def test_what_a_network_starts_from_and_its_adapters_are_said(make_site, job_of):
    start = {"model_start": "given", "model_start_sha256": "ab" * 32, "model_lora": {"rank": 3}}
    text = text_of(make_site('approval = "manual"\n'), job_of(**start))
    [network] = [line for line in text if line.startswith("network")]
    assert (
        f"cnn from weights 'given' of the coordinator's (SHA-256 {'ab' * 32}), with adapters of rank 3"
        in network
    )
    assert any("what training has changed in the adapters" in line for line in text)
