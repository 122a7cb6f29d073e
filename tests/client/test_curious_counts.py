"""A coordinator that asks many approved jobs whatever it may, to learn who is in a hospital's cohort.

Every request is valid and every job approved: what must hold is what the answers tell together.
"""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict
from PIL import Image

from shared import messages
from shared.errors import JobError
from shared.job import JobSpec, parse_job
from shared.pki import new_key, save_key
from tests.client.asked_site import AskedSite

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
