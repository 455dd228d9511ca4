"""Recipes by name, from a file or from a run, with the changes of --set."""

import json
from collections.abc import Sequence
from pathlib import Path

import castor.models.sizes
from castor.core.recipe import override
from castor.models.sizes import ModelConfig
from castor.recipes import RECIPES
from castor.train.recipe import AnyRecipe, recipe_from


def sizes() -> dict[str, ModelConfig]:
    """Every size by the name of its constant."""
    named = vars(castor.models.sizes).items()
    return {name: value for name, value in named if isinstance(value, ModelConfig)}


def chosen(name: str, changes: Sequence[str] = ()) -> AnyRecipe:
    """The recipe of that name, or in that recipe.json, run or checkpoint, as changed.

    Raises:
        ValueError: there is no such recipe, or a change does not fit it.
    """
    recipe: AnyRecipe = RECIPES[name] if name in RECIPES else _stored(Path(name))
    for change in changes:
        recipe = override(recipe, change)
    return recipe


def _stored(path: Path) -> AnyRecipe:
    file = path / "recipe.json" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"there is no recipe {str(path)!r}; there is {', '.join(RECIPES)}")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{file} holds no recipe: that is a JSON object, not {data!r:.40}")
    return recipe_from(data)
