"""Page, server and shipped model together. CASTOR_UPDATE=1 writes the pictures of the README."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .browser import Page

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[3]
EXAMPLES, DOCS = REPOSITORY / "examples", REPOSITORY / "docs"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`castor serve` with the shipped weights; it listens when nothing is left to compile."""
    folder = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-m", "castor.cli", "serve", "--port", "0", "--temperature", "0"]
    process = subprocess.Popen(
        [*command, "--data-dir", str(folder), "--quiet", "--warmup", "--max-batch", "2"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().split()[-1]
    process.terminate()
    process.wait(timeout=30)
    process.stdout.close()


def answers(page: Page, question: str, expected: str) -> None:
    """Asks, and waits for just this answer."""
    page.say(question)
    body = "document.querySelector('.turn.model:last-of-type .turn-body')"
    page.until(f"{body}?.innerText.trim()")
    page.idle()
    assert page.text(".turn.model:last-of-type .turn-body") == expected


def test_a_picture_is_seen_a_digit_heard_and_a_star_drawn(blank: Page, address: str) -> None:
    blank.resize(1280, 860)
    blank.open(address)
    blank.until("document.querySelector('.model-name').textContent === 'Castor Demo'")
    blank.attach(EXAMPLES / "shapes.png")
    blank.until("document.querySelector('#composer .attachment')")
    answers(blank, "Where is the star?", "at the bottom right")
    blank.click(".new-chat")
    blank.attach(EXAMPLES / "digit.flac")
    blank.until("document.querySelector('#composer .attachment')")
    answers(blank, "Which digit is spoken?", "7")
    blank.click(".new-chat")
    blank.click(".composer .chip")
    blank.say("Draw a red star on the left.")
    blank.until("document.querySelector('.turn.model img')?.naturalWidth === 64")
    blank.idle()
    for theme in ("light", "dark") if os.environ.get("CASTOR_UPDATE") == "1" else ():
        blank.prefer(prefers_color_scheme=theme, prefers_reduced_motion="reduce")
        time.sleep(0.5)  # for colours that change slowly
        blank.picture(DOCS / f"chat-{theme}.png")
