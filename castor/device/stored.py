"""Folders of graphs: written once for each model and precision, found again by a digest."""

import json
from pathlib import Path

from castor.core.files import folder_aside
from castor.core.recipe import to_json
from castor.device.drawing import Store
from castor.device.encoders import draw_encoders
from castor.device.graph import draw_decoder
from castor.device.layout import CONFIG, WEIGHTS
from castor.device.weights import Precision
from castor.models.decoder import Model
from castor.models.sizes import ModelConfig


def keep(model: Model, *, config: ModelConfig, folder: Path, precision: Precision) -> Path:
    """Write a model's graphs, unless the folder is there: then it holds them already.

    The folder is written aside and renamed when it is whole.

    Raises:
        ValueError: as `graph.refuse` and `encoders.draw_encoders`.
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder_aside(folder) as aside, Store(aside / WEIGHTS) as store:
        draw_decoder(model.decoder, config=config, folder=aside, store=store, precision=precision)
        draw_encoders(model.encoders, config=config, folder=aside, store=store, precision=precision)
        (aside / CONFIG).write_text(json.dumps(to_json(config)))
    return folder
