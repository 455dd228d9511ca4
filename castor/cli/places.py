"""Where things lie that outlive a command."""

import os
from pathlib import Path


def data_home() -> Path:
    """Where programs keep what outlives them."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def cache_home() -> Path:
    """Where programs keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def models_home() -> Path:
    """Where `castor pull` puts models, each under its name."""
    return data_home() / "castor" / "models"


def located(model: Path) -> Path:
    """The folder that --model means: a path, or the name of a model that was pulled."""
    pulled = models_home() / model
    return pulled if not model.exists() and pulled.is_dir() else model
