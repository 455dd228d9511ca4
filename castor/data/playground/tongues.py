"""The small phrases of the playground in six languages, with agreement of number and gender.

A Tongue is data: nouns with a kind (gender or noun class), colour words by kind, templates by
kind. `phrase` and `say` put them together; no template is ever filled for a kind it lacks.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from castor.data.playground.scenes import Group, Scene


class Noun(NamedTuple):
    one: str
    many: str
    kind: str = ""


@dataclass(frozen=True)
class Tongue:
    """One language. A template named "the.f" is used for nouns of kind "f", else "the" is.

    `colours[name]` maps a form ("a.f", "the.m", "many.f", ...) to the word; "" is the plain word,
    which answers "What color ...?" and stands where no form is listed.
    """

    name: str  # the language in its own words
    shapes: dict[str, Noun]
    colours: dict[str, dict[str, str]]
    places: dict[str, str]
    templates: dict[str, tuple[str, ...]]
    numbers: tuple[str, ...]  # the words for 0 to 12
    yes: str = "yes"
    no: str = "no"
    counts: dict[str, str] = field(default_factory=dict)  # "2.m": words unlike `numbers`

    def colour(self, name: str) -> str:
        """The plain word for a colour."""
        return self.colours[name][""]

    def shape(self, name: str) -> str:
        return self.shapes[name].one

    def phrase(self, form: str, *, shape: str, colour: str = "", count: int = 1) -> str:
        """A noun phrase: `form` is "a" (a red circle), "the" or "many" (two red circles)."""
        noun = self.shapes[shape]
        adjective = self._adjective(colour, form, noun.kind) if colour else ""
        number = self.counts.get(f"{count}.{noun.kind}") or self.counts.get(str(count))
        return self._fill(
            form if colour else f"{form}_plain",
            noun.kind,
            noun=noun.many if form == "many" else noun.one,
            adj=adjective,
            number=number or self.numbers[count],
        )

    def asks(self, question: str, *, shape: str = "", colour: str = "", **more: str) -> list[str]:
        """Every wording of a question about a shape, a colour or both; the first is canonical."""
        kind = self.shapes[shape].kind if shape else ""
        parts = dict(more)
        if shape:
            parts |= {form: self.phrase(form, shape=shape, colour=colour) for form in ("a", "the")}
            adjective = self._adjective(colour, "many", kind) if colour else ""
            parts["plural"], parts["tail"] = self.shapes[shape].many, f" {adjective}".rstrip()
            parts["many"] = self._fill("some", kind, noun=parts["plural"], adj=adjective)
        elif colour:
            parts["colour"] = self._adjective(colour, "shape", "")
        return [capital(words.format(**parts)) for words in self._templates(question, kind)]

    def place_phrase(self, group: Group) -> tuple[str, str]:
        """What the group is, as the object of "draw", and where it is."""
        form = "a" if group.count == 1 else "many"
        what = self.phrase(form, shape=group.shape, colour=group.colour, count=group.count)
        return what, self.places[group.place]

    def describe(self, scene: Scene) -> str:
        """The groups and their places in order: "a red circle on the left and ..."."""
        pattern = self.templates["group"][0]
        parts = [
            pattern.format(what=what, where=where) for what, where in map(self.place_phrase, scene)
        ]
        comma, last = self.templates["join"]
        return last.join(filter(None, (comma.join(parts[:-1]), parts[-1])))

    def _fill(self, form: str, kind: str, **parts: str) -> str:
        return " ".join(self._templates(form, kind)[0].format(**parts).split())

    def _templates(self, name: str, kind: str) -> tuple[str, ...]:
        for key in (f"{name}.{kind}", name, name.removesuffix("_plain") + f".{kind}"):
            if key in self.templates:
                return self.templates[key]
        return self.templates[name.removesuffix("_plain")]

    def _adjective(self, colour: str, form: str, kind: str) -> str:
        forms = self.colours[colour]
        for key in (f"{form}.{kind}", form, kind):
            if key in forms:
                return forms[key]
        return forms[""]


def capital(sentence: str) -> str:
    """The sentence with its first letter large (after an opening Spanish mark, too)."""
    start = 1 if sentence[:1] in "¿¡" else 0
    return sentence[:start] + sentence[start : start + 1].upper() + sentence[start + 1 :]
