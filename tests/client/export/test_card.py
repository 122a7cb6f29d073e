"""The card of an export: what a job has named acts nowhere."""

import torch

from client.export.facts import card
from shared.tasks.programs import Input, Program

HOSTILE = "<img src=x onerror=alert(1)>"


def test_a_class_of_the_job_is_text() -> None:
    facts = {
        "name": "knee",
        "subject": f"classification into {HOSTILE}",
        "run": "knee-1",
        "job": "0" * 64,
        "round": 2,
        "rounds": 2,
        "tested_round": 2,
        "strategy": "fedavg",
        "privacy": "none",
        "simulated": False,
        "sites": {"alpha": {}},
        "test": {f"sensitivity/{HOSTILE}": 0.5},
        "test_patients": 9,
        "intervals": {},
        "guarantee": {HOSTILE: HOSTILE},
        "sites_judge_their_own": False,
        "decisions": {
            "round": 2,
            "images": 9,
            "thresholds": {HOSTILE: 0.5},
            "coverage": 0.9,
            "cuts": {HOSTILE: -1.0},
        },
    }
    inputs = {"image": Input((1, 8, 8), f"an image of {HOSTILE}")}
    program = Program(torch.nn.Identity(), inputs, "logits", f"logits of {HOSTILE}", {"classes": [HOSTILE]})
    text = card(facts, program, ["Resized."])
    assert "onerror" in text
    assert "<" not in text.replace("\\<", "")
