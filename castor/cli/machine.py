"""What the figures of a run were obtained on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import castor

MACHINE = "machine.json"  # in a run: what it was trained on


def about() -> dict[str, str]:
    """Processor, devices and versions, in words."""
    import jax

    devices = jax.devices()
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "python": platform.python_version(),
        "jax": version("jax"),
        "castor": castor.__version__,
    }


def processor() -> str:
    """The processor's name as its maker gives it, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
