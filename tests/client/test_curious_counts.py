"""A coordinator that asks many approved jobs whatever it may, to learn who is in a hospital's cohort.

Every request is valid and every job approved: what must hold is what the answers tell together.
"""

from typing import Any

MEMBERS, ASKED = 100, 200
POLICY = 'approval = "automatic"\n'
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "secure": {"privacy": {"secure_aggregation": True}},
    "private": {
        "privacy": {"mechanism": "dp-sgd", "epsilon": 1.0},
        "strategy": {"name": "fedavg", "min_sites": 3, "weight": "equal"},
    },
}
