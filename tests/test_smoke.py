"""The full-size configs from their first step to their results, with real vLLM on a CPU.

With few questions: `make smoke` takes steps of 256 and asks all of the benchmarks', of which
tests/evaluation/test_six.py asks the true ones. A benchmark's share of two processes is uneven here
too.
"""

import pytest
from smoke import CONFIGS, make_data, smoke

pytestmark = pytest.mark.vllm


@pytest.mark.parametrize("name", CONFIGS)
def test_smoke(name, tmp_path):
    make_data(tmp_path / "data", 7)
    smoke(name, tmp_path, tmp_path / "data", fewer=True)
