"""Warnings that a good statistician would give before anybody trains: what a result might mean instead."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from client.data.check.fingerprints import Fingerprint, near_pairs
from client.data.check.site_labels import site_tells
from client.data.manifest.rows import Record
from shared.metrics.intervals import wilson
from shared.text.plural import many

EXAMPLES = 3  # how many cases a warning names
_WIDE = 0.1  # half-width of an interval beyond which a difference of a few points can't be seen
_EMPTY = 0.1  # share of empty masks in the test from which an empty answer looks good
_DASHES = re.compile(r"[\u2010-\u2015\u2212_ ]")
_BEFORE_NUMBER = re.compile(r"(?<=[^\W\d_])-+(?=\d)")  # of "P-007", which elsewhere is "P007"
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


@dataclass(frozen=True)
class Seen:
    """What was seen of one row's files.

    Attributes:
        where: How a person finds the row.
        side: Of the split.
        content: SHA-256 of the image's files.
        fingerprint: See `client.data.check.fingerprints`; None where there is nothing to compare.
        labels: Of a classification; None where there are none.
        empty: Whether its mask is empty; None where it has none.
        text: Whether it looks as if text was written into the image.
        constant: Which of the image's channels have a single value, one flag each.
    """

    record: Record
    where: str
    side: str
    content: str
    fingerprint: Fingerprint | None
    labels: tuple[str, ...] | None
    empty: bool | None
    text: bool
    constant: tuple[bool, ...]

    @property
    def site(self) -> str:
        """The hospital; 'all' where the manifest names none."""
        return self.record.site or "all"


def doubts(seen: Sequence[Seen]) -> Iterator[str]:
    """Yield the warnings of a dataset, the gravest first: each with its count and three examples."""
    yield from site_tells(
        [(one.site, one.record.patient, one.labels) for one in seen if one.labels is not None]
    )
    yield from _one_class(seen)
    yield from _empty_masks(seen)
    yield from _same_ids(seen)
    yield from _copies(seen)
    yield from _contradictions(seen)
    yield from _named_twice(seen)
    yield from _small_test(seen)
    yield from _images(seen)


def _one_class(seen: Sequence[Seen]) -> Iterator[str]:
    """Warn where every answer is right that always says the same."""
    by_place: dict[str, set[str]] = defaultdict(set)
    classes = {label for one in seen for label in one.labels or ()}
    for one in seen:
        for label in one.labels or ():
            by_place[f"site {one.site}"].add(label)
            if one.side == "test":
                by_place[f"the test of site {one.site}"].add(label)
    if len(classes) < 2:
        return
    single = [
        f"{place} ('{next(iter(labels))}')" for place, labels in sorted(by_place.items()) if len(labels) == 1
    ]
    if single:
        yield (
            f"one class only at {listed(single)}: whoever always says it has an accuracy of 1.000 there, and "
            "AUROC is undefined"
        )


def _empty_masks(seen: Sequence[Seen]) -> Iterator[str]:
    test = [one for one in seen if one.side == "test" and one.empty is not None]
    empty = sum(bool(one.empty) for one in test)
    if test and empty / len(test) >= _EMPTY:
        masks, are = many(len(test), "mask"), "is" if empty == 1 else "are"
        yield (
            f"{empty} of the {masks} in the test {are} empty: whoever always says that there is nothing has "
            f"a Dice per image (dice_image) of {empty / len(test):.2f}; look at dice_global"
        )


def _contradictions(seen: Sequence[Seen]) -> Iterator[str]:
    torn = [group for group in _equal(seen) if len({one.labels for one in group}) > 1]
    if torn:
        yield f"{many(len(torn), 'group')} of equal images with different labels: {_groups(torn)}"


def _named_twice(seen: Sequence[Seen]) -> Iterator[str]:
    """Warn of rows in whose columns of images one file stands twice, as after copying a column."""
    if twice := [one.where for one in seen if len(set(one.record.images)) < len(one.record.images)]:
        yield f"{many(len(twice), 'row')} with one file as two of its images: {rows(twice)}"


def _same_ids(seen: Sequence[Seen]) -> Iterator[str]:
    """Warn of patients of one site whose ids differ in their writing alone: one person on two sides."""
    by_id: dict[tuple[str, str], dict[str, Seen]] = defaultdict(dict)
    for one in seen:
        by_id[one.site, as_meant(one.record.patient)].setdefault(one.record.patient, one)
    if found := [list(group.values()) for group in by_id.values() if len(group) > 1]:
        yield (
            f"{many(len(found), 'group')} of patients whose ids differ only in how they are written "
            f"(capitals, zeros in front, dashes, wide letters): {_groups(found)}; is each one person?"
        )


def as_meant(patient: str) -> str:
    """Return an id without what spreadsheets and keyboards change in it."""
    text = _DASHES.sub("-", unicodedata.normalize("NFKC", patient).casefold()).lstrip("'")
    text = _BEFORE_NUMBER.sub("", text)
    return _ZEROS.sub("", re.sub(r"(?<=^\d)(\d*)\.0$", r"\1", text))


def _copies(seen: Sequence[Seen]) -> Iterator[str]:
    """Warn of equal images, and of images of two patients that look alike: copies, or one patient twice."""
    for found, where in _by_gravity(_equal(seen)):
        yield f"{many(len(found), 'group')} of equal images {where}: {_groups(found)}"
    alike = [
        [seen[one], seen[other]]
        for one, other in near_pairs([item.fingerprint for item in seen])
        if seen[one].content != seen[other].content and seen[one].record.patient != seen[other].record.patient
    ]
    for found, where in _by_gravity(alike):
        pairs = many(len(found), "pair")
        yield (
            f"{pairs} of images of two patients that look alike, perhaps copies, {where}: {_groups(found)}"
        )


def _equal(seen: Sequence[Seen]) -> list[list[Seen]]:
    by_content: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        by_content[one.content].append(one)
    return [group for group in by_content.values() if len(group) > 1]


_PLACES = (
    "on two sides of the split, where a copy makes the test unfair",
    "at two sites, where a copy counts twice",
    "on one side of the split",
)


def _by_gravity(groups: Sequence[list[Seen]]) -> Iterator[tuple[list[list[Seen]], str]]:
    """Yield the groups on several sides of the split, those at several sites, and the others."""
    found: dict[str, list[list[Seen]]] = {where: [] for where in _PLACES}
    for group in groups:
        across_sides = len({one.side for one in group}) > 1
        across_sites = len({one.site for one in group}) > 1
        found[_PLACES[0 if across_sides else 1 if across_sites else 2]].append(group)
    yield from ((chosen, where) for where, chosen in found.items() if chosen)


def _small_test(seen: Sequence[Seen]) -> Iterator[str]:
    patients = len({(one.site, one.record.patient) for one in seen if one.side == "test"})
    if not patients:
        return
    low, high = wilson(0.8 * patients, patients)
    if (high - low) / 2 > _WIDE:
        yield (
            f"the test has {many(patients, 'patient')}: a share of 0.80 of them may be anything from "
            f"{low:.2f} to {high:.2f} (95 %); a smaller difference does not show"
        )


def _images(seen: Sequence[Seen]) -> Iterator[str]:
    """Warn of what single images are."""
    for chosen, what in (
        ([one for one in seen if all(one.constant)], "of a single value"),
        (
            [one for one in seen if any(one.constant) and not all(one.constant)],
            "with a channel of a single value",
        ),
    ):
        if chosen:
            yield f"{many(len(chosen), 'image')} {what}: {rows(one.where for one in chosen)}"
    written = [one for one in seen if one.text]
    if written:
        told = Counter(one.site for one in written)
        sites = listed([f"{site} {count}" for site, count in told.most_common()])
        where = rows(one.where for one in written) + (f" ({sites})" if len(told) > 1 else "")
        yield (
            f"{many(len(written), 'image')} with what looks like text in the picture: {where}; names may "
            "stand in it, and a model may read it"
        )


def rows(places: Iterable[str]) -> str:
    """Return 'row 3' or 'rows 3, 4, 5 and 7 more'."""
    named = list(places)
    return f"row{'s' * (len(named) != 1)} {listed(named)}"


def listed(items: Sequence[str]) -> str:
    """Return the first three of many, and how many more there are."""
    more = f" and {len(items) - EXAMPLES} more" if len(items) > EXAMPLES else ""
    return ", ".join(items[:EXAMPLES]) + more


def _groups(groups: Sequence[list[Seen]]) -> str:
    named = [" and ".join(one.where for one in group[: EXAMPLES + 1]) for group in groups]
    return f"rows {listed(named)}"
