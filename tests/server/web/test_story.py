"""What a run's events amount to, and charts that are drawn beside the coordinator."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from server.web.drawing import Drawer
from server.web.line_process import LineProcess, process_environment
from server.web.story import Story
from shared.metrics.figures import Figure

START = datetime(2026, 11, 26, 9, tzinfo=UTC)


def told(story: Story, kind: str, seconds: float = 0, **more) -> None:
    story.take({"time": (START + timedelta(seconds=seconds)).isoformat(), "event": kind, **more})


def test_who_is_at_work_late_lost_and_back() -> None:
    story = Story()
    told(story, "run_waiting", **{"for": "lyon (approval)"})
    assert story.waits_for == "lyon (approval)"
    told(story, "run_started", rounds=3, sites=3)
    assert story.waits_for == ""
    story.expect({"charite": {}, "lyon": {}, "boston": {}})
    told(story, "round_started", round=1)
    assert {site.state for site in story.sites.values()} == {"at work"}
    told(story, "site_done", round=1, site="charite", phase="train", loss=0.5, seconds=3.0)
    told(story, "site_failed", round=1, site="lyon", phase="train", reason="disk is full")
    told(story, "site_late", round=1, site="boston", phase="train")
    found = {name: (site.state, site.why, site.loss) for name, site in story.sites.items()}
    assert found == {
        "charite": ("trained", "", 0.5),
        "lyon": ("lost", "disk is full", None),
        "boston": ("late", "", None),
    }
    told(story, "round_finished", round=1)
    told(story, "round_started", round=2)
    told(story, "site_done", round=2, site="lyon", phase="train")
    assert (story.sites["lyon"].state, story.sites["lyon"].why) == ("trained", "")
    assert (story.sites["charite"].rounds, story.sites["lyon"].rounds) == (1, 1)
    told(story, "run_finished")
    assert all(site.kind != "busy" for site in story.sites.values())


def test_how_long_the_rest_takes_follows_the_last_rounds() -> None:
    story = Story()
    told(story, "run_started", rounds=10)
    assert story.seconds_left() is None
    for round_ in range(1, 5):
        told(story, "round_started", 60 * round_, round=round_)
        told(story, "round_finished", 60 * round_ + 50, round=round_)
    assert story.seconds_left(START) == pytest.approx(300)
    told(story, "round_started", 300, round=5)
    assert story.seconds_left(START + timedelta(seconds=320)) == pytest.approx(280)
    assert story.seconds_left(START + timedelta(seconds=9000)) == pytest.approx(250)  # the round is slow


@pytest.mark.parametrize(
    "line",
    [{}, {"event": 3}, {"event": "_run_waiting"}, {"event": "expect"}, {"event": "site_done", "site": 7}],
)
def test_a_line_that_is_odd_does_no_harm(line) -> None:
    Story().take(line)


def test_what_draws_may_die_and_gets_no_secret(monkeypatch) -> None:
    monkeypatch.setenv("WARDROUND_CA_PASSPHRASE_FILE", "/secret")
    assert "WARDROUND_CA_PASSPHRASE_FILE" not in process_environment()
    points = [("federation", round_, 1 / round_) for round_ in range(1, 4)]
    figures = [Figure(name, "<b>loss</b>", ("of", "round", "loss"), points) for name in ("one", "two")]

    async def draw() -> None:
        drawer = Drawer()
        [first] = await drawer.draw(figures[:1])
        process = drawer._process._process
        assert process is not None
        process.kill()
        await process.wait()
        again = await drawer.draw(figures)
        assert again[0] == first  # kept
        assert again[1].startswith("<svg")
        assert drawer._process._process is not process
        await drawer.close()

    asyncio.run(draw())


def test_who_goes_away_leaves_no_answer_to_the_next() -> None:
    async def ask() -> None:
        process = LineProcess("tests.server.web.echo", 60.0)
        with pytest.raises(asyncio.CancelledError):
            async with process.asked("first"):
                raise asyncio.CancelledError  # before it has read the answer
        async with process.asked("second") as lines:
            assert await anext(lines) == b"second\n"
        await process.close()

    asyncio.run(ask())
