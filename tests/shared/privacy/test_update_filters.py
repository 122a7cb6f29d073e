"""What filters promise of every update, and that they refuse whatever is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.errors import JobError
from shared.job.schema import UpdateTable
from shared.networks.build import build_model
from shared.privacy.codecs import BLOCK, Dense, Int8, TopK
from shared.privacy.filters import UpdateFilter
from shared.text.names import is_within
from shared.wire.messages import MessageError
from shared.wire.packed_model import Layout
from tests.jobs import make_job

VECTORS = hnp.arrays(
    np.float32, st.integers(0, 700), elements=st.floats(-60_000, 60_000, width=32, allow_subnormal=False)
)
TABLES = {
    "float32": UpdateTable(clip=1e9),
    "bfloat16": UpdateTable(precision="bfloat16"),
    "float16": UpdateTable(precision="float16"),
    "int8": UpdateTable(compression="int8"),
    "top-k": UpdateTable(compression="top-k", keep=0.1),
    "top-k in 16 bits": UpdateTable(compression="top-k", keep=0.1, precision="bfloat16"),
}
CODECS = {
    "float32": lambda size: Dense(size, "float32"),
    "bfloat16": lambda size: Dense(size, "bfloat16"),
    "float16": lambda size: Dense(size, "float16"),
    "int8": Int8,
    "top-k": lambda size: TopK(size, 0.1, "float32"),
    "top-k in 16 bits": lambda size: TopK(size, 0.1, "float16"),
}


@pytest.fixture(scope="module", params=["all of it", "the head"])
def layout_and_parts(request):
    """A small network with batch norm, whose statistics travel, and the parts that a job may send of it."""
    parts = None if request.param == "all of it" else ["levels.4", "levels.5", "head"]
    job = make_job(task_name="classification", model_norm="batch", update_parts=parts)
    return Layout.of(build_model(job, seed=1)), parts


def filter_of(layout_and_parts, name, **changes):
    layout, parts = layout_and_parts
    table = TABLES[name].model_copy(update={"parts": parts, **changes})
    return UpdateFilter(table, lambda tensor: parts is None or is_within(tensor, parts), layout)


def near(size, spread, seed=0):
    return np.random.default_rng(seed).normal(0, spread, size).astype(np.float32)


@given(VECTORS)
def test_the_error_of_precision_is_bounded(values):
    for name, relative, absolute in (("float32", 0, 0), ("float16", 2**-11, 2**-25), ("bfloat16", 2**-8, 0)):
        codec = CODECS[name](values.size)
        error = np.abs(codec.decode(codec.encode(values)).astype(np.float64) - values)
        assert (error <= relative * np.abs(values) + absolute).all(), name


@given(VECTORS)
def test_8_bits_are_off_by_half_a_step_of_their_block(values):
    codec = Int8(values.size)
    decoded = codec.decode(codec.encode(values))
    for begin in range(0, values.size, BLOCK):
        block = values[begin : begin + BLOCK].astype(np.float64)
        step = np.abs(block).max() / 127
        assert (np.abs(decoded[begin : begin + BLOCK] - block) <= step * (0.5 + 1e-4)).all()


@given(VECTORS)
def test_top_k_sends_the_largest_and_nothing_else(values):
    codec = TopK(values.size, 0.1, "float32")
    decoded = codec.decode(codec.encode(values))
    sent = decoded != 0
    assert np.count_nonzero(sent) <= int(np.ceil(0.1 * values.size))
    assert np.array_equal(decoded[sent], values[sent])
    if sent.any():
        assert np.abs(values[~sent]).max(initial=0) <= np.abs(values[sent]).min()


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
def test_bytes_that_are_no_encoding_are_refused_or_harmless(name, data):
    codec = CODECS[name](40)
    content = data.draw(st.binary(max_size=200) | st.binary(min_size=codec.length, max_size=codec.length))
    try:
        decoded = codec.decode(content)
    except MessageError:
        return
    assert len(content) == codec.length
    assert decoded.shape == (40,)
    assert decoded.dtype == np.float32
    assert np.isfinite(decoded).all()


def test_what_no_site_encodes_is_refused():
    int8, top = Int8(3), TopK(40, 0.1, "float32")
    scale, levels = np.float32(1).tobytes(), b"\x01\x02\x03"
    ones = np.ones(4, "<f4").tobytes()
    for codec, content in (
        (int8, np.float32(-1).tobytes() + levels),
        (int8, np.float32("nan").tobytes() + levels),
        (int8, np.float32(3e38).tobytes() + levels),
        (int8, scale + b"\x80\x00\x00"),  # -128
        (top, np.array([0, 1, 1, 2], "<u4").tobytes() + ones),
        (top, np.array([3, 2, 1, 0], "<u4").tobytes() + ones),
        (top, np.array([0, 1, 2, 40], "<u4").tobytes() + ones),
        (top, np.array([0, 1, 2, 2**32 - 1], "<u4").tobytes() + ones),
    ):
        assert len(content) == codec.length
        with pytest.raises(MessageError):
            codec.decode(content)


def test_a_number_beyond_float16_names_the_key():
    with pytest.raises(JobError, match=r"\[update\] precision.*beyond the range of float16"):
        Dense(1, "float16").encode(np.array([1e6], np.float32))


@pytest.mark.parametrize("name", TABLES)
@given(data=st.data())
def test_arbitrary_bytes_never_break_the_coordinator(name, data, layout_and_parts):
    update_filter = filter_of(layout_and_parts, name)
    size = layout_and_parts[0].size
    base = near(size, 1)
    content = bytearray(update_filter.encode(near(size, 1, 2), base, None)[0])
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + 4] = data.draw(st.binary(max_size=5))
    try:
        decoded = update_filter.decode(bytes(content), base)
    except MessageError:
        return
    assert decoded.shape == base.shape
    assert np.isfinite(decoded).all()


@pytest.mark.parametrize("name", ["int8", "top-k", "top-k in 16 bits"])
@pytest.mark.parametrize("rounds", [1, 7])
def test_with_error_feedback_all_that_was_sent_adds_up_to_the_truth(name, rounds, layout_and_parts):
    layout, _ = layout_and_parts
    update_filter = filter_of(layout_and_parts, name)
    trained, residual = update_filter.trained, None
    sent, truth = np.zeros(trained), np.zeros(trained)
    for round_ in range(rounds):
        base = near(layout.size, 1, round_)
        local = base + near(layout.size, 0.01, 100 + round_)
        content, residual = update_filter.encode(local, base, residual)
        sent += (update_filter.decode(content, base) - base)[:trained]
        truth += (local - base)[:trained]
    assert np.abs(truth - sent).max() > 1e-6  # one round alone is not exact
    assert np.abs(truth - sent - residual).max() < 2e-6  # rounding of float32


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("clip", [1e-3, 0.5, 1e3])
@pytest.mark.parametrize("with_residual", [False, True])
def test_nothing_above_the_clipping_norm_is_sent(name, clip, with_residual, layout_and_parts):
    layout, _ = layout_and_parts
    update_filter = filter_of(layout_and_parts, name, clip=clip)
    base = np.zeros(layout.size, np.float32)
    residual = near(update_filter.trained, 0.2, 5) if with_residual and update_filter.keeps_residual else None
    local = near(layout.size, 0.1)
    content, _ = update_filter.encode(local, base, residual)
    norm = float(np.linalg.norm(update_filter.decode(content, base).astype(np.float64)))
    whole = float(np.linalg.norm(update_filter.select(local)))
    assert norm <= clip * (1 + 1e-6)
    if not name.startswith("top-k") and not with_residual:
        assert norm >= 0.97 * min(whole, clip)


def test_an_update_above_the_clipping_norm_is_refused(layout_and_parts):
    layout, _ = layout_and_parts
    base = np.zeros(layout.size, np.float32)
    content = filter_of(layout_and_parts, "float32").encode(near(layout.size, 1), base, None)[0]
    with pytest.raises(MessageError, match=r"above \[update\] clip = 0.5"):
        filter_of(layout_and_parts, "float32", clip=0.5).decode(content, base)


@pytest.mark.parametrize("name", TABLES)
def test_statistics_arrive_as_they_are_and_what_is_frozen_stays(name, layout_and_parts):
    layout, parts = layout_and_parts
    update_filter = filter_of(layout_and_parts, name)
    base, local = near(layout.size, 1), near(layout.size, 1, 9)
    decoded = update_filter.decode(update_filter.encode(local, base, None)[0], base)
    begin, seen = 0, set()
    for entry in layout.entries:
        span = slice(begin, begin + entry.size)
        begin = span.stop
        if parts is not None and not entry.name.startswith(tuple(parts)):
            assert np.array_equal(decoded[span], base[span]), entry.name
            seen.add("frozen")
        elif "running" in entry.name:
            assert np.allclose(decoded[span], local[span], rtol=0, atol=1e-6), entry.name
            seen.add("statistic")
    assert seen == ({"statistic"} if parts is None else {"frozen", "statistic"})


def test_two_encodings_of_the_same_are_the_same_bytes(layout_and_parts):
    layout, _ = layout_and_parts
    base, local = near(layout.size, 1), np.round(near(layout.size, 1, 9))  # many equal numbers
    for name in TABLES:
        update_filter = filter_of(layout_and_parts, name)
        assert update_filter.encode(local, base, None)[0] == update_filter.encode(local, base, None)[0]
