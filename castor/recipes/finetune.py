"""`finetune`: somebody's documents, by a model that is there already, on a laptop.

The numbers are [ours], after Hu et al. 2021, arXiv:2106.09685. Not a result of its own: what comes
of it depends on the model and on the documents.
"""

from dataclasses import replace

from castor.data.folders import Jsonl
from castor.data.mixture import Mixture, Part
from castor.models.lora import Lora
from castor.train.optim import AdamW, Cosine
from castor.train.recipe import FineTune, Full

HELD_OUT = 0.05  # of the documents, where they do not say
ADAM = AdamW(b2=0.999, decay=0.0, schedule=Cosine())
RATES = {Lora: 2e-4, Full: 2e-5}


def finetune(start: str, documents: str, tuning: Lora | Full) -> FineTune:
    """The recipe over a .jsonl file or a folder of them."""
    return FineTune(
        name="finetune",
        start=start,
        tuning=tuning,
        mixture=Mixture((Part(Jsonl(documents, held_out=HELD_OUT), 1.0),)),
        optimizer=replace(ADAM, peak_lr=RATES[type(tuning)]),
        steps=200,
        rows=2,
    )
