"""What is shown of a run: on a terminal, and in a log file."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from server.report.progress import Progress
from server.runs.events import Event

RUN = [
    Event("run_started", data={"rounds": 2, "sites": 3}),
    Event("site_left_out", site="clinic", data={"reason": "1 patient, the job asks for 5"}),
    Event("round_started", 1, phase="train"),
    Event("site_done", 1, "north", "train", {"loss": 0.75, "seconds": 1.5}),
    Event("site_failed", 1, "south", "train", {"reason": "[training] loss became NaN"}),
    Event("round_finished", 1, data={"loss": 0.625, "dice_global": 0.5}),
    Event("round_started", 2, phase="train"),
    Event("site_done", 2, "north", "train", {"loss": 0.5}),
    Event("round_finished", 2, data={"loss": 0.375, "dice_global": 0.875, "hd95": float("nan")}),
    Event("run_finished"),
]


def shown(events: list[Event], *, terminal: bool) -> str:
    stream = io.StringIO()
    with Progress(
        Console(file=stream, force_terminal=terminal, width=120, legacy_windows=False), "dice_global"
    ) as show:
        for event in events:
            show(event)
    return stream.getvalue()


def test_a_log_file_gets_one_line_a_round_and_one_a_failure() -> None:
    lines = shown(RUN, terminal=False).splitlines()
    assert lines[:3] == [
        "2 rounds, 3 sites",
        "site clinic is left out: 1 patient, the job asks for 5",
        "round 1: site south failed (train): [training] loss became NaN",
    ]
    assert lines[3].startswith("round 1/2, loss 0.625, Dice (all voxels) 0.5, ")
    assert lines[4].startswith("round 2/2, loss 0.375, Dice (all voxels) 0.875, ")
    assert lines[5].startswith("finished in ")
    assert len(lines) == 6


def test_a_log_file_gets_no_control_characters() -> None:
    text = shown(
        [*RUN, Event("site_failed", 1, "\x1b[31mred", data={"reason": "a\r\nb\x07"})], terminal=False
    )
    assert all(letter.isprintable() or letter == "\n" for letter in text)


def test_a_terminal_shows_rounds_sites_loss_and_metric() -> None:
    text = shown(RUN, terminal=True)
    for part in (
        "1/2",
        "1/3 sites",
        "loss 0.75",
        "Dice (all voxels) 0.5",
        "left",
        "[training] loss became NaN",
    ):
        assert part in text


BASELINES = [
    Event("baselines_started", data={"models": 2}),
    Event("baseline_done", site="north", data={"seconds": 1.25}),
    Event("baseline_done", site="pooled"),
]


def test_baselines_are_counted_after_the_rounds() -> None:
    assert shown(BASELINES, terminal=False).splitlines() == [
        "baselines: 2 models",
        "baseline north, 1.2 s",
        "baseline pooled",
    ]
    assert "baseline 2/2" in Text.from_ansi(shown([*RUN, *BASELINES], terminal=True)).plain


def test_a_site_can_not_control_the_terminal() -> None:
    text = shown([Event("site_failed", 1, "a", data={"reason": "\x1b]0;owned\x07"})], terminal=True)
    assert "\x1b]0;" not in text


def test_the_bar_ends_when_the_run_breaks() -> None:
    stream = io.StringIO()
    with pytest.raises(RuntimeError), Progress(Console(file=stream, force_terminal=True)):
        raise RuntimeError
    assert stream.getvalue().endswith(("\x1b[?25h\r\x1b[1A\x1b[2K", "\x1b[?25h"))


EVENTS = st.builds(
    Event,
    st.sampled_from([event.kind for event in RUN] + ["site_joined", "baselines_started", "baseline_done"]),
    st.integers(0, 5),
    st.text(max_size=5),
    st.sampled_from(["", "describe", "train", "evaluate", "test"]),
    st.dictionaries(
        st.sampled_from(["rounds", "sites", "loss", "seconds", "reason", "dice_global", "round"]),
        st.one_of(st.integers(-3, 9), st.floats(), st.text(max_size=5)),
    ),
)


@settings(max_examples=40)
@given(st.lists(EVENTS, max_size=8), st.booleans())
def test_no_event_breaks_it(events: list[Event], terminal: bool) -> None:
    shown(events, terminal=terminal)
