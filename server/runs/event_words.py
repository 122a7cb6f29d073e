"""What happens in a run, in words: one line for each event."""

from collections.abc import Mapping
from typing import Any

from server.runs.waiting import queued_at


def words_of(line: Mapping[str, Any]) -> str:
    """Return an event, a line of `events.jsonl`, in words; nothing for one that tables tell better."""
    kind, site, round_ = str(line.get("event", "")), str(line.get("site") or ""), line.get("round") or 0
    when = f"round {round_}: " if round_ else ""
    because = f": {line['reason']}" if line.get("reason") else ""
    found = {
        "run_queued": f"is in the queue, {queued_at(line)}",
        "run_waiting": f"waits for {line.get('for') or 'its sites'}",
        "run_started": f"begins, with {line.get('sites')} sites and {line.get('rounds') or 'no'} rounds",
        "site_joined": f"{when}{site} has joined",
        "site_only_judges": f"{site} only judges the model{because}",
        "site_left_out": f"{site} is left out{because}",
        "site_failed": f"{when}{site} failed{because}",
        "site_late": f"{when}{site} was late",
        "site_weighed_less": f"{when}{site} counts for less than it claims",
        "not_evaluated": f"{when}no metrics{because}",
        "round_repeated": f"round {round_} is repeated once its sites are back{because}",
        "round_finished": f"round {round_} is finished",
        "run_finished": "is finished",
        "line_left_out": "an event that is too long to be shown",
    }
    return found.get(kind, "")
