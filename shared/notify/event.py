"""What is told of an event: a CloudEvent with fields on a list, and what a person reads of it.

A value passes the checks of the audit log: a name that does not look like one, and every text, is cleared
(`shared.text.redact`). There is no field for numbers of patients or images, nor for files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

from shared.audit.fields import Value, checked_value
from shared.clock import utc_text

TEST = "test"
_RUN = ("run", "job", "project", "researcher")
FIELDS: dict[str, tuple[str, ...]] = {
    TEST: (),
    "job-waits": ("job", "name", "researcher", "moment"),
    "run-waits": _RUN,
    "run-began": _RUN,
    "run-finished": _RUN,
    "model-worse": _RUN,
    "run-failed": (*_RUN, "reason"),
    "run-stopped": _RUN,
    "run-interrupted": _RUN,
    "certificate-ends": ("site", "federation", "days"),
    "budget-ends": ("dataset", "left"),
    "site-lost": ("site",),
    "site-back": ("site",),
}
_SAID = {
    TEST: "This is a test: notifications reach you.",
    "job-waits": "The job '{name}' waits for approval: wardround client approve {job}",
    "run-waits": "The run {run} waits for its sites.",
    "run-began": "The run {run} has begun.",
    "run-finished": "The run {run} has finished.",
    "model-worse": "By the run {run} a model is worse than at its first test: wardround drift shows both.",
    "run-failed": "The run {run} has failed: {reason}",
    "run-stopped": "The run {run} was stopped.",
    "run-interrupted": "The run {run} was interrupted: its process has ended.",
    "certificate-ends": "The certificate of {whose} ends in {days} days.",
    "budget-ends": "Of the privacy budget of the dataset '{dataset}' {share} is left.",
    "site-lost": "The site '{site}' has not been heard of for a while.",
    "site-back": "The site '{site}' is back.",
}


@dataclass(frozen=True)
class Event:
    """An event as it is told, the same through every channel and at every try.

    Attributes:
        id: Tells it from every other: who has seen it may leave out a copy.
        source: Who tells: ``/wardround/site/st-mary``.
        kind: One of `FIELDS`.
        time: When it was noticed (UTC).
    """

    id: str
    source: str
    kind: str
    time: str
    data: Mapping[str, Value]

    @classmethod
    def of(cls, source: str, kind: str, **fields: object) -> Self:
        """Make an event that happens now; fields that are empty are left out.

        Raises:
            ValueError: The event has no such field, or a value has another type.
        """
        if strange := fields.keys() - set(FIELDS[kind]):
            raise ValueError(f"the event {kind} may not hold {', '.join(sorted(strange))}")
        data = {name: checked_value(name, value) for name, value in fields.items() if value not in {"", None}}
        return cls(uuid4().hex, source, kind, utc_text(), data)

    def cloud_event(self) -> str:
        """Return the event in CloudEvents' JSON format, version 1.0."""
        content: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": f"wardround.{self.kind}",
            "time": self.time,
            "datacontenttype": "application/json",
            "data": {**self.data, "text": self.text()},
        }
        return json.dumps(content)

    @classmethod
    def parse(cls, content: str) -> Self:
        """Return the event that `cloud_event` has written."""
        read = json.loads(content)
        data = {name: value for name, value in read["data"].items() if name != "text"}
        return cls(read["id"], read["source"], read["type"].removeprefix("wardround."), read["time"], data)

    def text(self) -> str:
        """Return what a person reads."""
        data: dict[str, Value] = {**dict.fromkeys(FIELDS[self.kind], "?"), **self.data}
        site = self.data.get("site")
        whose = f"the site '{site}'" if site else f"the authority of '{self.data.get('federation')}'"
        share = f"{float(self.data.get('left', 0)):.0%}"
        return _SAID[self.kind].format(**data, whose=whose, share=share)
