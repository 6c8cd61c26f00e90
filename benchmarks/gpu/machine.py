"""Facts about this machine."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterator

import torch

from .clock import GIB, seconds_of
from .flops import peak_flops
from .report import Finding, Note, Row
from .scale import Setting

TABLE = "Machine"
PRODUCT = {"cuda": 8192, "cpu": 256}  # rows of the matrices whose product is timed
REPEATS = 20


def device_name(device: str) -> str:
    """Torch's name for the GPU."""
    return torch.cuda.get_device_name() if device == "cuda" else "a CPU"


def machine(setting: Setting) -> Iterator[Finding]:
    """Names and versions, and the speed of a plain matrix product."""
    name = device_name(setting.device)
    facts = {"GPU": name, **_versions()}
    if setting.device == "cuda":
        found = torch.cuda.get_device_properties(0)
        facts["memory"] = f"{found.total_memory / GIB:.1f} GiB"
        facts["compute capability"] = f"{found.major}.{found.minor}"
        facts["GPUs seen"] = str(torch.cuda.device_count())
        facts["driver"] = _driver()
    peak = peak_flops(name)
    facts["data sheet, dense bf16"] = (
        "not known for this name (fgexpo/plan/gpus.py), so MFU is not given"
        if peak is None
        else f"{peak / 1e12:.0f} TFLOP/s"
    )
    for what, value in facts.items():
        yield Row(TABLE, {"what": what, "value": value})
    rows = PRODUCT[setting.device]
    flops = 2 * rows**3 / _product_seconds(setting.device, rows)
    share = "" if peak is None else f", {flops / peak:.0%} of the data sheet"
    yield Note(f"A {rows} x {rows} bf16 matrix product reaches {flops / 1e12:.3g} TFLOP/s{share}.")


def _versions() -> dict[str, str]:
    # On a CPU, the package's name differs from its module's.
    vllm = importlib.metadata.packages_distributions().get("vllm")
    return {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "CUDA, cuDNN of torch": f"{torch.version.cuda}, {torch.backends.cudnn.version()}",
        "transformers": importlib.metadata.version("transformers"),
        "vLLM": importlib.metadata.version(vllm[0]) if vllm else "not installed",
    }


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi does not say ({type(error).__name__})"
    return done.stdout.strip()


def _product_seconds(device: str, rows: int) -> float:
    left, right = (torch.randn(rows, rows, device=device, dtype=torch.bfloat16) for _ in range(2))

    def work() -> None:
        for _ in range(REPEATS):
            left @ right

    work()
    return seconds_of(work, device) / REPEATS
