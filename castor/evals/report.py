"""Outcomes as a table for people, as JSON for machines, and as Markdown for a model card."""

import json
from collections.abc import Sequence
from typing import Any

from castor.evals.metrics import Estimate
from castor.evals.run import Outcome

HEADS = ("benchmark", "score", "95 %", "n", "shuffled inputs", "blank inputs", "what")


def rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """One row of strings per outcome, in the order of HEADS."""
    return [
        (
            o.name,
            shown(o.score.value, o.unit),
            interval(o.score, o.unit),
            str(o.n),
            "" if o.shuffled is None else shown(o.shuffled.value, o.unit),
            "" if o.blank is None else shown(o.blank.value, o.unit),
            o.what,
        )
        for o in outcomes
    ]


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The table as Markdown, one line per benchmark."""
    lines = [HEADS, tuple("---" for _ in HEADS), *rows(outcomes)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def as_json(outcomes: Sequence[Outcome], *, about: dict[str, str]) -> str:
    """All figures with the model, hardware and seed that they were obtained with."""
    return json.dumps({**about, "outcomes": [o.record() for o in outcomes]}, indent=2)


def from_json(record: dict[str, Any]) -> list[Outcome]:
    """The outcomes in what `as_json` wrote.

    Raises:
        KeyError, TypeError: it was not written by `as_json`.
    """
    outcomes: list[Outcome] = []
    for told in record["outcomes"]:
        figures: dict[str, Any] = {"score": Estimate(*told["score"])}
        for control in ("shuffled", "blank"):
            figures[control] = Estimate(*told[control]) if control in told else None
        outcomes.append(Outcome(**{**told, **figures}))
    return outcomes


def shown(value: float, unit: str) -> str:
    """A share in percent, anything else with its unit."""
    return f"{100 * value:.1f} %" if unit == "share" else f"{value:.2f} {unit}"


def interval(estimate: Estimate, unit: str) -> str:
    """The ends of the 95 % interval."""
    scale = 100 if unit == "share" else 1
    digits = 1 if unit == "share" else 2
    return f"{scale * estimate.low:.{digits}f} to {scale * estimate.high:.{digits}f}"
