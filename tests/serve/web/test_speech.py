"""Answers read aloud, by a voice that only notes what it is given."""

import json

import pytest

from .browser import Page
from .scenes import TALK

pytestmark = pytest.mark.slow

LAST = ".turn.model:last-of-type"
READ, STOP = f"{LAST} [aria-label='Read aloud']", f"{LAST} [aria-label='Stop reading']"
VOICE = """
Object.defineProperty(window, 'speechSynthesis', { value: {
  due: [], said: [],
  speak(line) { this.due.push(line); this.said.push(line.text); },
  cancel() {
    const due = this.due;
    this.due = [];
    setTimeout(() => due.forEach((line) => line.onerror?.(new Event('error'))));
  },
  finish() { for (const line of this.due.splice(0)) line.onend?.(new Event('end')); },
} });
"""


@pytest.fixture
def voiced(blank: Page, url: str) -> Page:
    """The page in a browser whose voice is the one above."""
    blank.call("Page.addScriptToEvaluateOnNewDocument", source=VOICE)
    blank.open(url)
    blank.until("document.querySelector('.model-name').textContent === 'Castor Demo'")
    return blank


def said(page: Page) -> list[str]:
    return page.run("speechSynthesis.said")


def test_an_answer_is_read_to_its_end(voiced: Page) -> None:
    voiced.ask("hello")
    voiced.click(READ)
    voiced.until(f"document.querySelector({json.dumps(STOP)})")
    assert said(voiced) == ["You said “hello”."]
    voiced.run("speechSynthesis.finish()")
    voiced.until(f"document.querySelector({json.dumps(READ)})")


def test_reading_stops_when_it_is_told_to(voiced: Page) -> None:
    voiced.ask("hello")
    voiced.click(READ)
    voiced.click(STOP)
    voiced.until(f"document.querySelector({json.dumps(READ)})")
    assert voiced.run("speechSynthesis.due.length") == 0
    assert len(said(voiced)) == 1


def test_another_answer_is_read_in_place_of_the_first(voiced: Page) -> None:
    voiced.ask("one")
    voiced.ask("two")
    voiced.click(".turn.model [aria-label='Read aloud']")
    voiced.click(READ)
    voiced.run("new Promise(resolve => setTimeout(resolve, 50))")  # the first one hears of it
    assert said(voiced) == ["You said “one”.", "You said “two”."]
    assert voiced.count("[aria-label='Stop reading']") == voiced.count(STOP) == 1


def test_what_is_read_is_what_one_would_say(voiced: Page) -> None:
    voiced.ask("markdown please")
    voiced.click(READ)
    assert said(voiced) == [
        "Least squares in one line.",
        "The closed form minimises formula. Set the gradient to zero and solve:",
        "formula.",
        "In NumPy that is one call, and it is better conditioned than the formula:",
        "Code.",
        "method, cost, when. normal equations, formula, few columns. QR, formula, the usual case. "
        "SVD, formula, columns nearly dependent.",
        "Centre the columns first. Look at the residuals: a funnel means the noise grows, "
        "a curve means a term is missing.",
        "All models are wrong, but some are useful.",
        "More in the notes.",
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a snake_case `name` and 2 * 3", ["a snake_case name and 2 * 3."]),
        ("# Title\n- [x] done\n- open", ["Title.", "done. open."]),
        ("first\\\nsecond", ["first second."]),
        ("```\ncode", ["Code."]),
        ("", []),
    ],
)
def test_marks_are_not_read(page: Page, text: str, lines: list[str]) -> None:
    module = "import('/web/view/speech.js')"
    assert page.run(f"{module}.then(({{spoken}}) => spoken({json.dumps(text)}))") == lines


def test_the_whole_scene_is_plain(page: Page) -> None:
    module = "import('/web/view/speech.js')"
    text = " ".join(page.run(f"{module}.then(({{spoken}}) => spoken({json.dumps(TALK)}))"))
    assert not set(text) & set("*#`|$\\_[]<>")
