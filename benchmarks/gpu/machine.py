"""Facts about this machine."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterator

import torch

from .clock import GIB
from .flops import peak_flops
from .products import products
from .report import Finding, Row
from .scale import Setting

TABLE = "Machine"


def device_name(device: str) -> str:
    """Torch's name for the GPU."""
    return torch.cuda.get_device_name() if device == "cuda" else "a CPU"


def machine(setting: Setting) -> Iterator[Finding]:
    """Names and versions, and the speed of the model's own matrix products."""
    name = device_name(setting.device)
    facts = {"GPU": name, **_versions()}
    if setting.device == "cuda":
        found = torch.cuda.get_device_properties(0)
        facts["memory"] = f"{found.total_memory / GIB:.1f} GiB"
        facts["compute capability"] = f"{found.major}.{found.minor}"
        facts["GPUs seen"] = str(torch.cuda.device_count())
        facts["driver"] = from_driver("driver_version")
    peak = peak_flops(name)
    facts["data sheet, dense bf16"] = (
        "not known for this name (fgexpo/plan/gpus.py), so MFU is not given"
        if peak is None
        else f"{peak / 1e12:.0f} TFLOP/s"
    )
    for what, value in facts.items():
        yield Row(TABLE, {"what": what, "value": value})
    yield from products(setting, peak)


def _versions() -> dict[str, str]:
    # On a CPU, the package's name differs from its module's.
    vllm = importlib.metadata.packages_distributions().get("vllm")
    return {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "CUDA, cuDNN of torch": f"{torch.version.cuda}, {torch.backends.cudnn.version()}",
        "transformers": importlib.metadata.version("transformers"),
        "vLLM": importlib.metadata.version(vllm[0]) if vllm else "not installed",
        "TRL": _version("trl"),
        "liger-kernel": _version("liger-kernel"),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def from_driver(field: str) -> str:
    """What ``nvidia-smi`` says of the first GPU, which opens no driver in this process.

    Args:
        field: such as ``name`` or ``driver_version``.
    """
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi does not say ({type(error).__name__})"
    return done.stdout.strip()
