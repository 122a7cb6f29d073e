"""Warnings that a good statistician would give before anybody trains: what a result might mean instead."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.stats import chi2_contingency

from client.data.fingerprints import Fingerprint, near_pairs
from client.data.manifest import Record

EXAMPLES = 3  # how many cases a warning names
_CHANCE = 0.01  # how rarely chance alone may bring what is warned of
_TELLING = 0.6  # AUROC of the site's name that is worth a word
_WIDE = 0.1  # half-width of an interval beyond which a difference of a few points can't be seen
_Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Seen:
    """What was seen of one row's files.

    Attributes:
        side: Of the split.
        content: SHA-256 of the image's files.
        fingerprint: See `client.data.fingerprints`; None where there is nothing to compare.
        labels: Of a classification; empty otherwise.
        text: Whether it looks as if text was written into the image.
        constant: Which of the image's channels have a single value, one flag each.
    """

    record: Record
    side: str
    content: str
    fingerprint: Fingerprint | None
    labels: tuple[str, ...]
    text: bool
    constant: tuple[bool, ...]


def doubts(seen: Sequence[Seen]) -> Iterator[str]:
    """Yield the warnings of a dataset, the gravest first."""
    yield from _label_of_site(seen)
    yield from _one_class(seen)
    yield from _contradictions(seen)
    yield from _copies(seen)
    yield from _small_test(seen)
    constant = [one.record for one in seen if all(one.constant)]
    if constant:
        yield f"{_images(len(constant))} of a single value: {_rows(constant)}"
    partly = [one.record for one in seen if any(one.constant) and not all(one.constant)]
    if partly:
        yield f"{_images(len(partly))} with a channel of a single value: {_rows(partly)}"
    written = [one.record for one in seen if one.text]
    if written:
        yield (
            f"{_images(len(written))} with what looks like text in the border: {_rows(written)}; names may "
            "stand in it, and a model may read it"
        )


def _label_of_site(seen: Sequence[Seen]) -> Iterator[str]:
    """Warn where the name of the hospital alone tells the label."""
    pairs = [(one.record.site or "", label) for one in seen for label in one.labels]
    sites, labels = sorted({site for site, _ in pairs}), sorted({label for _, label in pairs})
    if len(sites) < 2 or len(labels) < 2:
        return
    counts = Counter(pairs)
    table = np.array([[counts[site, label] for label in labels] for site in sites])
    if chi2_contingency(table).pvalue > _CHANCE:
        return
    told = {label: _auroc(table[:, index], table.sum(axis=1)) for index, label in enumerate(labels)}
    label = max(told, key=lambda name: told[name])
    if told[label] >= _TELLING:
        yield (
            f"the site alone tells '{label}' with AUROC {told[label]:.2f} (0.50 is chance): a model may "
            "learn the hospital instead of the disease; compare with that figure, and look at each site"
        )


def _auroc(positives: np.ndarray, totals: np.ndarray) -> float:
    """Return the AUROC of ranking images by their site's share of positives."""
    negatives = totals - positives
    order = np.argsort(positives / totals, kind="stable")
    below = np.cumsum(negatives[order]) - negatives[order] / 2
    return float((positives[order] * below).sum() / max(positives.sum() * negatives.sum(), 1))


def _one_class(seen: Sequence[Seen]) -> Iterator[str]:
    """Warn where every answer is right that always says the same."""
    by_place: dict[str, set[str]] = defaultdict(set)
    classes = {label for one in seen for label in one.labels}
    for one in seen:
        for label in one.labels:
            by_place[f"site {one.record.site or 'all'}"].add(label)
            if one.side == "test":
                by_place[f"the test of site {one.record.site or 'all'}"].add(label)
    if len(classes) < 2:
        return
    single = [
        f"{place} ('{next(iter(labels))}')" for place, labels in sorted(by_place.items()) if len(labels) == 1
    ]
    if single:
        yield (
            f"one class only at {_listed(single)}: whoever always says it has a balanced accuracy of 1.000 "
            "there, and AUROC is undefined"
        )


def _contradictions(seen: Sequence[Seen]) -> Iterator[str]:
    by_content: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        by_content[one.content].append(one)
    torn = [group for group in by_content.values() if len({one.labels for one in group}) > 1]
    if torn:
        rows = [" and ".join(str(one.record.row) for one in group) for group in torn]
        yield f"equal images with different labels: rows {_listed(rows)}"


def _copies(seen: Sequence[Seen]) -> Iterator[str]:
    """Warn of images of two patients that look alike: copies that were saved anew, or one patient twice."""
    pairs = [
        (seen[one], seen[other])
        for one, other in near_pairs([item.fingerprint for item in seen])
        if seen[one].content != seen[other].content and seen[one].record.patient != seen[other].record.patient
    ]
    across = [pair for pair in pairs if pair[0].side != pair[1].side]
    for found, where in (
        (across, "on two sides of the split, so the test may not be a fair one"),
        ([pair for pair in pairs if pair not in across], "on one side"),
    ):
        if found:
            rows = [f"{one.record.row} and {other.record.row}" for one, other in found]
            yield f"images of two patients that look alike {where}: rows {_listed(rows)}"


def _small_test(seen: Sequence[Seen]) -> Iterator[str]:
    patients = len({one.record.patient for one in seen if one.side == "test"})
    if not patients:
        return
    low, high = wilson(round(0.8 * patients), patients)
    if (high - low) / 2 > _WIDE:
        yield (
            f"the test has {patients} patient{'s' * (patients != 1)}: an accuracy of 0.80 on them may be "
            f"anything from {low:.2f} to {high:.2f} (95 %)"
        )


def wilson(right: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Wilson, JASA 1927)."""
    share, spread = right / total, _Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return middle - half, middle + half


def _images(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"


def _rows(records: Sequence[Record]) -> str:
    return f"row{'s' * (len(records) != 1)} {_listed([str(record.row) for record in records])}"


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - EXAMPLES} more" if len(items) > EXAMPLES else ""
    return ", ".join(items[:EXAMPLES]) + more
