"""Packing a model's state into one vector, and back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from shared.wire.packed_model import Entry, Layout, ModelState
from tests.work import Operators

State = dict[str, tuple[tuple[int, ...], str, torch.dtype]]

shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
kinds = st.sampled_from(["parameter", "frozen", "buffer", "integer", "unsaved"])
dtypes = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16])
names = st.text("abcxyz_0123456789", min_size=1, max_size=8).map(lambda text: f"t{text}")
states = st.dictionaries(names, st.tuples(shapes, kinds, dtypes), max_size=8)


def model_of(state: State, seed: int) -> nn.Module:
    """Return a module that holds these tensors, with values that every dtype represents exactly."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Module()
    for name, (shape, kind, dtype) in state.items():
        values = torch.randint(-100, 100, shape, generator=generator)
        if kind in ("parameter", "frozen"):
            model.register_parameter(name, nn.Parameter(values.to(dtype), requires_grad=kind == "parameter"))
        else:
            number = values if kind == "integer" else values.to(dtype)
            model.register_buffer(name, number, persistent=kind != "unsaved")
    return model


@given(states)
def test_a_packed_state_comes_back_in_its_own_dtypes(state: State) -> None:
    source, target = model_of(state, 1), model_of(state, 2)
    layout = Layout.of(source)
    local = {name: value.clone() for name, value in target.named_buffers() if not value.is_floating_point()}

    vector = layout.pack(source)
    layout.unpack(vector, target)

    assert vector.dtype == np.float32
    assert vector.shape == (layout.size,)
    wanted = source.state_dict() | local
    for name, value in target.state_dict().items():
        assert value.dtype == wanted[name].dtype
        assert torch.equal(value, wanted[name])


@given(states)
def test_trainable_parameters_stand_first(state: State) -> None:
    model = model_of(state, 1)
    layout = Layout.of(model)

    trainable = [p.detach().float().flatten() for p in model.parameters() if p.requires_grad]
    expected = torch.cat([torch.empty(0), *trainable]).numpy()

    assert layout.parameters == expected.size
    np.testing.assert_array_equal(layout.pack(model)[: layout.parameters], expected)


@given(states)
def test_the_digest_does_not_depend_on_the_values(state: State) -> None:
    assert Layout.of(model_of(state, 1)).digest() == Layout.of(model_of(state, 2)).digest()


@given(states, states)
def test_layouts_have_the_same_digest_only_if_they_are_the_same(one: State, other: State) -> None:
    first, second = Layout.of(model_of(one, 1)), Layout.of(model_of(other, 1))
    assert (first.digest() == second.digest()) == (first == second)


@given(
    st.lists(st.tuples(names, shapes), min_size=1, max_size=6, unique_by=lambda entry: entry[0]), st.data()
)
def test_the_digest_changes_with_name_shape_and_order(named: list[tuple[str, tuple[int, ...]]], data) -> None:
    entries = [Entry(name, shape) for name, shape in named]
    place = data.draw(st.integers(0, len(entries) - 1))
    name, shape = named[place]

    def with_entry(entry: Entry) -> list[Entry]:
        return [*entries[:place], entry, *entries[place + 1 :]]

    versions = [entries, with_entry(Entry("other", shape)), with_entry(Entry(name, (*shape, 1)))]
    if len(entries) > 1:
        versions.append([*entries[1:], entries[0]])
    digests = {Layout(tuple(version), parameters=0).digest() for version in versions}
    assert len(digests) == len(versions)


def test_tied_tensors_stand_in_the_vector_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    layout = Layout.of(model)

    assert layout.size == 9 + 3 + 3
    layout.unpack(np.arange(15, dtype=np.float32), model)
    assert model[1].weight is model[0].weight
    assert model[1].weight[0, 1] == 1


def test_the_statistics_of_batch_norm_travel_and_its_counter_stays() -> None:
    layout = Layout.of(nn.BatchNorm2d(2))
    assert [entry.name for entry in layout.entries] == ["weight", "bias", "running_mean", "running_var"]
    assert (layout.parameters, layout.size) == (4, 8)


def test_a_packed_vector_is_a_copy() -> None:
    model = nn.Linear(2, 2, bias=False)
    before = model.weight.detach().clone()
    Layout.of(model).pack(model)[:] = 7
    assert torch.equal(model.weight, before)


def test_a_channels_last_model_packs_like_any_other() -> None:
    plain = nn.Conv2d(3, 4, 3)
    last = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    last.load_state_dict(plain.state_dict())
    layout = Layout.of(plain)

    vector = layout.pack(last)
    np.testing.assert_array_equal(vector, layout.pack(plain))
    layout.unpack(vector * 2, last)
    assert torch.equal(last.weight, plain.weight * 2)
    assert last.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(5, np.float32),
        np.zeros(7, np.float32),
        np.zeros((6, 1), np.float32),
        np.array([0, 0, np.nan, 0, 0, 0], np.float32),
        np.array([0, 0, 0, 0, 0, -np.inf], np.float32),
    ],
    ids=["short", "long", "shape", "nan", "infinite"],
)
def test_a_bad_vector_is_refused_and_changes_nothing(vector: np.ndarray) -> None:
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    with pytest.raises(ValueError, match="packed model"):
        Layout.of(model).unpack(vector, model)
    assert torch.equal(model.weight, before)


def test_a_model_of_another_layout_is_refused() -> None:
    layout = Layout.of(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="layout"):
        layout.pack(nn.Linear(2, 3))
    with pytest.raises(ValueError, match="layout"):
        layout.unpack(np.zeros(6, np.float32), nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.filterwarnings("error")
def test_a_read_only_vector_is_taken() -> None:
    model = nn.Linear(2, 2)
    vector = np.frombuffer(np.arange(6, dtype=np.float32).tobytes(), np.float32)
    Layout.of(model).unpack(vector, model)
    assert model.bias.tolist() == [4, 5]


def test_a_safetensors_file_holds_the_named_tensors(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    layout = Layout.of(model)
    save_file(layout.state_dict(layout.pack(model)), tmp_path / "model.safetensors")

    other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    loaded = other.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)
    assert not loaded.unexpected_keys
    np.testing.assert_array_equal(layout.pack(other), layout.pack(model))


def test_packing_writes_each_number_once() -> None:
    model = nn.ParameterList([torch.ones(1000) for _ in range(20)])
    layout = Layout.of(model)
    with Operators() as operators:
        layout.pack(model)
    assert operators.count < 30  # for all tensors together, not several for each
    assert operators.numbers == 4 * layout.size  # made, seen in parts, copied; and seen as an array


class Counting(nn.Module):
    """Has a counter, and a mean that each forward pass replaces by another tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.register_buffer("mean", torch.zeros(2))

    def forward(self) -> None:
        self.steps += 1
        self.scratch += 1
        self.mean = self.mean + 1


def test_what_a_forward_pass_puts_in_the_place_of_a_buffer_travels() -> None:
    model = Counting()
    state = ModelState(model)
    model()
    assert state.pack().tolist() == [1, 1, 1, 1]


def test_a_model_follows_from_the_vector_alone() -> None:
    """Sites of a simulation share a network: nothing that one counted may be in the work of the next."""
    model = Counting()
    state = ModelState(model)
    first = state.pack()
    model()
    state.unpack(first)
    assert model.steps == 0
    assert model.scratch.tolist() == [0, 0]
    assert model.mean.tolist() == [0, 0]
