import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import full_precision  # noqa: F401
import pytest
import torch

from fgexpo.outside.quiet import hush
from fgexpo.study.processes import CONTEXT, PRELOAD
from fgexpo.tasks.tiny_model import TinyQwen2

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
hush()
# Whichever test is the first to need the fork server, all find the command line imported in it.
CONTEXT.set_forkserver_preload(PRELOAD)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A folder with a small random Qwen2; its big initial weights make it opinionated."""
    return random_model(tmp_path_factory.mktemp("model"), seed=0)


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory):
    """The same shape with other weights."""
    return random_model(tmp_path_factory.mktemp("other"), seed=1)


def random_model(folder, seed):
    shape = TinyQwen2(hidden_size=32, layers=2, intermediate_size=64, initializer_range=0.3)
    torch.manual_seed(seed)
    shape.model().save_pretrained(folder)
    shape.tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def model(model_folder):
    from fgexpo.model.loading import load_model

    return load_model(model_folder, "float64")


@pytest.fixture
def in_float64():
    """Tensors that a test of plain tensors makes are float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def tokenizer(model_folder):
    from fgexpo.model.loading import load_tokenizer

    return load_tokenizer(model_folder)
