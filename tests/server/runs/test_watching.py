"""Watching a run: every line once and in order, whatever a line is, with one look for all who watch."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.gateway.visible_runs import AtHand
from server.runs import event_tail, watching
from server.runs.event_tail import LONGEST_LINE, EventTail
from server.runs.folder import RunFolder
from server.runs.local import Coordinator
from server.runs.visibility import Figures
from server.runs.watching import Look, Watching
from shared import files


@pytest.fixture
def run(tmp_path: Path, tiny_job) -> RunFolder:
    return RunFolder.create(tmp_path, tiny_job(), "tiny-1")


def write(run: RunFolder, content: bytes) -> None:
    with (run.path / "events.jsonl").open("ab") as file:
        file.write(content)


def read_all(tail: EventTail, looks: int = 200) -> tuple[list[tuple[int, dict[str, Any]]], str]:
    """Look until the end; fails when it is not reached within so many looks."""
    found = []
    for _ in range(looks):
        lines, ended = tail.read()
        found += lines
        if ended:
            return found, ended
    pytest.fail("the end was never seen")


def test_a_line_of_any_length_does_not_stop_a_watcher(run: RunFolder) -> None:
    run.event("run_started")
    sizes = [LONGEST_LINE + 1, 2**20 + 100, 3 * 2**20]
    for size in sizes:
        run.event("site_failed", reason="A" * size)
        run.event("round_finished", round=size)
    run.event("run_finished")
    run.describe(status="finished")
    lines, ended = read_all(EventTail(run))
    assert ended == "finished"
    assert [number for number, _ in lines] == list(range(1, 9))
    assert [line["event"] for _, line in lines] == [
        "run_started",
        *(["line_left_out", "round_finished"] * 3),
        "run_finished",
    ]
    assert all(line["bytes"] > size for (_, line), size in zip(lines[1:7:2], sizes, strict=True))
    assert [number for number, _ in read_all(EventTail(run, after=6))[0]] == [7, 8]


def test_the_rest_is_still_heard_of_a_run_with_a_line_that_can_not_be_shown(run: RunFolder) -> None:
    write(run, b"not json\n[1]\n" + b"[" * 30_000 + b"\n\xff\n" + b"9" * 5000 + b"\n\n")
    run.event("run_finished")
    run.describe(status="finished")
    control = Coordinator(run.path.parent, lambda: pytest.fail("not asked"), lambda *_, **__: None)
    kinds = [event.kind for event in control.follow("tiny-1")]
    assert kinds == ["line_left_out"] * 6 + ["run_finished"]


def test_what_was_passed_over_may_be_gone_after_a_resumption(run: RunFolder) -> None:
    run.event("run_started")
    write(run, b"A" * (LONGEST_LINE * 3))  # its writer is killed
    tail = EventTail(run)
    assert [line["event"] for _, line in tail.read()[0]] == ["run_started"]
    content = (run.path / "events.jsonl").read_bytes()
    (run.path / "events.jsonl").write_bytes(content[: content.find(b"\n") + 1])
    run.event("round_started", round=1)
    assert [(number, line["event"]) for number, line in tail.read()[0]] == [(2, "round_started")]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=30),
    st.lists(st.integers(1, 500), max_size=60),
    st.integers(0, 10),
)
def test_lines_come_once_and_in_order_however_they_are_written(
    run: RunFolder, lines: list[tuple[int, bool]], cuts: list[int], after: int
) -> None:
    (run.path / "events.jsonl").unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_tail, "LONGEST_LINE", 100)
        patch.setattr(event_tail, "_AT_ONCE", 128)
        events = [
            {"event": "e", "n": n, "x": "x" * size} if good else None for n, (size, good) in enumerate(lines)
        ]
        content = b"".join((json.dumps(event) if event else "?").encode() + b"\n" for event in events)
        tail, found, at = EventTail(run, after), [], 0
        for cut in [*cuts, len(content)]:
            write(run, content[at : at + cut])
            at += cut
            found += tail.read()[0]
        run.describe(status="failed")
        found += read_all(tail, 1000)[0]
    expected = [
        (number, event if event and len(json.dumps(event)) <= 100 else None)
        for number, event in enumerate(events, 1)
        if number > after
    ]
    assert [(n, None if e["event"] == "line_left_out" else e) for n, e in found] == expected


def test_a_look_at_a_running_run_waits_for_nothing(run: RunFolder, monkeypatch) -> None:
    def no_sleep(_: float) -> None:
        pytest.fail("a look must not sleep")

    monkeypatch.setattr(files.time, "sleep", no_sleep)
    with run.lock():
        assert run.status == "running"
        assert EventTail(run).read() == ([], None)
    assert run.status == "interrupted"


class Counted:
    """Looks in threads, counted."""

    def __init__(self) -> None:
        self.looks = 0

    async def __call__(self, look: Callable[[], Look]) -> Look:
        self.looks += 1
        return await asyncio.to_thread(look)


async def watch(together: Watching, run: RunFolder, seen: dict[int, list[int]], who: int) -> str | None:
    """Watch a run to its end; returns how it ended."""
    end = None
    async with aclosing(together.follow(run, 0, pause=60.0)) as looks:
        async for lines, ended in looks:
            seen.setdefault(who, []).extend(number for number, _ in lines)
            end = ended
    return end


def test_many_who_watch_a_run_cost_the_looks_of_one(run: RunFolder) -> None:
    many, events = 50, 8
    run.event("run_started")
    reader, seen = Counted(), {}

    async def all_have(line: int) -> None:
        while not (len(seen) == many and all(numbers[-1] >= line for numbers in seen.values())):
            await asyncio.sleep(0.01)

    async def main() -> list[str | None]:
        together = Watching(reader)
        tasks = [asyncio.create_task(watch(together, run, seen, who)) for who in range(many)]
        await all_have(1)
        before = reader.looks
        assert before <= many + 2
        for number in range(events):
            run.event("round_started", round=number)
            await all_have(number + 2)
        assert reader.looks - before <= 4 * events + 10, "of all together, not of each"
        run.event("run_finished")
        run.describe(status="finished")
        return await asyncio.gather(*tasks)

    with run.lock():
        assert asyncio.run(asyncio.wait_for(main(), 120)) == ["finished"] * many
    assert all(numbers == list(range(1, events + 3)) for numbers in seen.values())


def test_a_run_in_which_nothing_happens_takes_no_threads(run: RunFolder, monkeypatch) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 0.001)
    monkeypatch.setattr(watching, "STATUS_S", 1e9)
    reader, seen = Counted(), {}
    run.event("run_started")

    async def main() -> None:
        together = Watching(reader)
        task = asyncio.create_task(watch(together, run, seen, 0))
        while reader.looks < 2:  # its own, and the first of all
            await asyncio.sleep(0.001)
        for _ in range(200):
            await asyncio.sleep(0.001)
        assert reader.looks == 2
        task.cancel()

    with run.lock():
        asyncio.run(main())


def test_who_is_slow_misses_nothing(run: RunFolder, monkeypatch) -> None:
    monkeypatch.setattr(watching, "_MOST", 4)
    seen: dict[int, list[int]] = {}

    async def slowly(together: Watching) -> None:
        async with aclosing(together.follow(run, 0, pause=60.0)) as looks:
            async for lines, _ in looks:
                seen.setdefault(0, []).extend(number for number, _ in lines)
                while len(seen[0]) < 2 and len(seen.get(1, [])) < 40:
                    await asyncio.sleep(0.001)

    async def main() -> None:
        together = Watching(Counted())
        tasks = [
            asyncio.create_task(slowly(together)),
            asyncio.create_task(watch(together, run, seen, 1)),
        ]
        for number in range(40):
            run.event("round_started", round=number)
            while len(seen.get(1, [])) <= number:
                await asyncio.sleep(0.001)
        run.describe(status="stopped")
        await asyncio.gather(*tasks)

    monkeypatch.setattr(watching, "LOOK_S", 0.005)
    with run.lock():
        asyncio.run(asyncio.wait_for(main(), 120))
    assert seen[0] == seen[1] == list(range(1, 41))


def test_a_run_whose_process_died_ends_for_who_watches(run: RunFolder, monkeypatch) -> None:
    monkeypatch.setattr(watching, "STATUS_S", 0.05)
    seen: dict[int, list[int]] = {}

    async def main() -> str | None:
        together = Watching(Counted())
        with run.lock():
            task = asyncio.create_task(watch(together, run, seen, 0))
            run.event("run_started")
            while not seen:
                await asyncio.sleep(0.01)
        return await task

    assert asyncio.run(asyncio.wait_for(main(), 60)) == "interrupted"


def test_what_may_be_seen_is_read_once_until_it_changes(run: RunFolder) -> None:
    control = Coordinator(
        run.path.parent, lambda: pytest.fail("not asked"), lambda *_, **__: None, role="viewer"
    )
    event = {"event": "site_done", "site": "alpha", "loss": 0.5}
    reads = []

    async def read(work: Callable[[], Figures]) -> Figures:
        reads.append(work)
        return work()

    async def main() -> list[dict[str, Any]]:
        at_hand, seen = AtHand(read), []
        for choice in ("nobody", "project"):
            run.describe(figures={"alpha": choice}, sites={"alpha": {}})
            for _ in range(50):
                seen.append((await at_hand.figures(control, run)).event(event))
        return seen

    seen = asyncio.run(main())
    assert len(reads) == 2
    assert seen == [{"event": "site_done", "site": "alpha"}] * 50 + [event] * 50
