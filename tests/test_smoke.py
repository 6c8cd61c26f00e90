"""The full-size configs from their first step to their results, with real vLLM on a CPU."""

import pytest
from smoke import CONFIGS, MOST, make_data, smoke

pytestmark = pytest.mark.vllm


@pytest.mark.parametrize("name", CONFIGS)
def test_smoke(name, tmp_path):
    make_data(tmp_path / "data", MOST[name])
    smoke(name, tmp_path, tmp_path / "data")
