"""Complete, runnable configurations; each says what came of it, or that it was not run."""

from castor.recipes.demo import CODEC as DEMO_CODEC
from castor.recipes.demo import DEMO, RESEARCH
from castor.recipes.drill import DRILL
from castor.recipes.tiny import CODEC as TINY_CODEC
from castor.recipes.tiny import TINY
from castor.train.recipe import CodecRecipe, Recipe

RECIPES: dict[str, Recipe | CodecRecipe] = {  # what `castor train` can name
    "tiny": TINY,
    "demo": DEMO,
    "demo_research": RESEARCH,
    "codec": DEMO_CODEC,
    "tiny_codec": TINY_CODEC,
    "drill": DRILL,
}
