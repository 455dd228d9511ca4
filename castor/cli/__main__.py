"""What `castor` and `python -m castor.cli` start."""

import hashlib
import os
import sys
from pathlib import Path

from castor.cli import main


def start() -> None:
    """Run the command, with compiled programs kept between runs: half of a short answer's time.

    They lie in the user's cache, apart for each kind of processor. JAX_COMPILATION_CACHE_DIR, where
    it is set, says otherwise; set it to nothing to keep none.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(home / "castor" / processor_digest()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    sys.exit(main())


def processor_digest() -> str:
    """A name for what this processor can do; programs compiled for another may crash here."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


if __name__ == "__main__":
    start()
