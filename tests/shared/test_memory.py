"""Free memory is used again, or given back, as the process asked."""

import subprocess
import sys

import pytest

# Page faults of fifty models of 3 MB, one after the other.
PROGRAM = """
import resource
from shared import memory
{call}
bytes(3_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    b"1" * 3_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(call: str) -> int:
    program = PROGRAM.format(call=call)
    return int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_small_models_take_no_new_memory() -> None:
    assert page_faults("memory.keep_small_models()") < 1500  # one model is 732 pages
    assert page_faults("memory.BLOCK = 2**20; memory.give_back_large_blocks()") > 20_000
