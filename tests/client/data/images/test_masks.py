"""A mask's values are looked at before they become classes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.formats.picture import Picture
from client.data.images.masks import class_indices
from shared.errors import DataError

PATH = Path("m.png")


def mask(values: object, dtype: type = np.uint8) -> Picture:
    return Picture(np.asarray(values, dtype)[None], None)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.integers(1, 5))
def test_every_label_becomes_a_class_or_the_mask_is_refused(labels, classes):
    values = np.array(labels)[None]
    try:
        found = class_indices(mask(values, np.int32), PATH, classes)
    except DataError:
        assert values.max() > classes
    else:
        if classes == 1:
            assert ((found > 0) == (values > 0)).all()
        else:
            assert (found == values).all()


@given(
    st.dictionaries(st.integers(0, 400), st.integers(0, 3), min_size=1),
    st.lists(st.integers(0, 400), min_size=1),
)
def test_mapped_labels_become_what_the_job_says_or_are_named(labels, drawn):
    values = np.array(drawn)[None]
    known = {0: 0, **labels}
    unknown = sorted(set(drawn) - known.keys())
    if unknown:
        with pytest.raises(DataError, match=f"holds the values? {unknown[0]}"):
            class_indices(mask(values, np.int64), PATH, 3, labels)
    else:
        found = class_indices(mask(values, np.int64), PATH, 3, labels)
        assert found[0].tolist() == [known[value] for value in drawn]


def test_instances_become_one_structure_only_on_purpose():
    instances = np.arange(256).reshape(16, 16)
    with pytest.raises(DataError, match="mask = 'any'"):
        class_indices(mask(instances), PATH, 1)
    assert (class_indices(mask(instances), PATH, 1, mask="any") == (instances > 0)).all()


def test_few_small_instances_do_not_pass_for_the_edge_of_a_large_one():
    instances = np.zeros((40, 40), np.uint8)
    instances[:20, :20] = 255
    instances[30:34, 30:34] = 90
    with pytest.raises(DataError, match="holds 2 values"):
        class_indices(mask(instances), PATH, 1)


def test_a_smooth_edge_is_no_second_structure():
    smooth = np.zeros((9, 9), np.uint8)
    smooth[2:7, 2:7], smooth[3:6, 3:6] = 120, 255
    assert class_indices(mask(smooth), PATH, 1).sum() == 9


@pytest.mark.parametrize(
    ("values", "dtype", "said"),
    [
        ([[-3, 5]], np.int16, "not below 0"),
        ([[0.5, 1]], np.float32, "holds 0.5"),
        ([[1 + 1j, 0]], np.complex64, "complex"),
        ([[np.nan, 1]], np.float32, "not finite"),
        (np.arange(4096).reshape(64, 64), np.int32, "looks like an image"),
    ],
)
def test_what_is_no_map_of_labels_is_called_what_it_looks_like(values, dtype, said):
    with pytest.raises(DataError, match=said):
        class_indices(mask(values, dtype), PATH, 1)


def test_labels_that_were_scaled_when_they_were_stored_are_whole_numbers():
    assert class_indices(mask([[0, 0.9999999, 1.0039]], np.float64), PATH, 2)[0].tolist() == [0, 1, 1]


@pytest.mark.parametrize("value", [1, 255])
def test_one_structure_is_one_or_the_highest_value(value):
    assert class_indices(mask([[0, value]]), PATH, 1)[0].tolist() == [0, 1]
    with pytest.raises(DataError, match="holds 77 where one class is 1 or 255"):
        class_indices(mask([[0, 77]]), PATH, 1)
