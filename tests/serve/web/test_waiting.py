"""What the page says and does while the server is not ready for a message."""

import time

import pytest

from .browser import Page
from .scenes import error
from .stand_in import Play

pytestmark = pytest.mark.slow

LAST = ".turn.model:last-of-type"
FELL = error(500, "INTERNAL", "It fell over.")
LATE_STORE = """
const open = IDBFactory.prototype.open;
IDBFactory.prototype.open = function (...given) {
  const late = {};
  window.letIn = () => {
    const real = open.apply(this, given);
    Object.defineProperty(late, 'result', { get: () => real.result });
    real.onupgradeneeded = () => late.onupgradeneeded();
    real.onsuccess = () => late.onsuccess();
  };
  return late;
};
"""


def waits(page: Page) -> None:
    page.until("document.querySelector('.waiting')?.innerText === 'Waiting for the server…'")


def is_answered(page: Page, text: str) -> None:
    page.until(f"document.querySelector('{LAST} .markdown')?.innerText.includes('{text}')")
    page.idle()
    assert page.text(f"{LAST} .turn-body") == f"You said “{text}”."


def test_a_message_waits_for_the_list_of_models(blank: Page, url: str, play: Play) -> None:
    play.models.clear()
    blank.open(url)
    blank.say("hello")
    waits(blank)
    assert blank.text(".turn.user .bubble") == "hello"
    assert play.asked == []
    play.models.set()
    is_answered(blank, "hello")
    assert len(play.asked) == 1


def test_a_message_that_waits_can_be_stopped(blank: Page, url: str, play: Play) -> None:
    play.models.clear()
    blank.open(url)
    blank.say("hello")
    waits(blank)
    blank.press("Escape")
    blank.idle()
    assert blank.text(f"{LAST} .notice") == "Stopped\nTry again"
    play.models.set()
    blank.click(f"{LAST} .notice .button")
    is_answered(blank, "hello")
    assert len(play.asked) == 1


def test_a_list_that_fails_is_told_and_the_message_sent_again(
    blank: Page, url: str, play: Play
) -> None:
    play.models.clear()
    play.list_fails = [FELL]
    blank.open(url)
    blank.say("hello")
    waits(blank)
    play.models.set()
    blank.until(f"document.querySelector('{LAST} .notice')")
    told = "Error 500 · INTERNAL\nThe list of models did not come: It fell over.\nTry again"
    assert blank.text(f"{LAST} .notice") == told
    assert play.asked == []
    blank.click(f"{LAST} .notice .button")
    is_answered(blank, "hello")
    assert blank.count(".turn.model") == 1
    blank.until("!document.querySelector('.banner')")


def test_a_list_that_fails_is_asked_for_again(blank: Page, url: str, play: Play) -> None:
    play.list_fails = [FELL]
    blank.open(url)
    told = "The list of models did not come: It fell over. Trying again…"
    blank.until("document.querySelector('.banner.unlisted')")
    assert blank.text(".banner") == told
    blank.until("document.querySelector('.model-name').textContent === 'Castor Demo'")
    blank.until("!document.querySelector('.banner')")


def test_a_list_that_is_refused_is_not_asked_for_until_one_wants(
    blank: Page, url: str, play: Play
) -> None:
    play.list_fails = [error(403, "PERMISSION_DENIED", "Not from here.")]
    blank.open(url)
    told = "The list of models did not come: Not from here.\nTry again"
    blank.until("document.querySelector('.banner.unlisted')")
    assert blank.text(".banner") == told
    time.sleep(2.5)
    assert blank.text(".banner") == told
    blank.click(".banner .button")
    blank.until("document.querySelector('.model-name').textContent === 'Castor Demo'")
    blank.until("!document.querySelector('.banner')")


def test_a_message_before_the_chats_are_there_is_sent_then(
    blank: Page, url: str, play: Play
) -> None:
    blank.call("Page.addScriptToEvaluateOnNewDocument", source=LATE_STORE)
    blank.call("Page.navigate", url=url)
    blank.until("window.letIn && document.getElementById('ask')")
    blank.say("hello")
    blank.run("document.getElementById('ask').focus()")
    blank.type("and then")
    blank.run("letIn()")
    blank.ready()
    is_answered(blank, "hello")
    assert blank.run("document.getElementById('ask').value") == "and then"
    assert len(play.asked) == 1


def test_a_model_that_warms_up_says_how_far_it_is(blank: Page, url: str, play: Play) -> None:
    play.status, play.compiled = "loading", 0.409
    blank.open(url)
    blank.until("document.querySelector('.banner.loading')")
    told = "The model is warming up (40 %): the first answers take longer."
    assert blank.text(".banner") == told
    play.compiled = 0.75
    blank.until("document.querySelector('.banner').innerText.includes('75 %')")
    assert blank.ask("hello") == "You said “hello”."
    play.status = "ok"
    blank.until("!document.querySelector('.banner')")


def test_an_answer_that_waits_for_a_warm_model_says_so(blank: Page, url: str, play: Play) -> None:
    play.status, play.compiled, play.delay_s = "loading", 0.4, 2.0
    blank.open(url)
    blank.say("hello")
    blank.until(
        "document.querySelector('.waiting')?.innerText === 'The model is warming up (40 %)'"
    )
    play.delay_s = 0.01
    blank.idle()


def test_warming_up_is_told_while_the_list_is_late(blank: Page, url: str, play: Play) -> None:
    play.models.clear()
    play.status, play.compiled = "loading", 0.4
    blank.open(url)
    blank.until("document.querySelector('.banner')?.innerText.includes('(40 %)')")
    play.compiled = 0.75
    blank.until("document.querySelector('.banner')?.innerText.includes('(75 %)')")


def test_a_key_is_asked_for_once_while_the_model_warms_up(
    blank: Page, url: str, play: Play
) -> None:
    play.key, play.status, play.compiled = "secret", "loading", 0.4
    blank.open(url)
    blank.until("document.activeElement.type === 'password'")
    blank.press("Escape")
    blank.until("!document.querySelector('dialog')")
    time.sleep(2.5)
    assert blank.count("dialog") == 0
    blank.say("hello")
    blank.until("document.activeElement.type === 'password'")
    blank.type("secret")
    blank.press("Enter")
    is_answered(blank, "hello")
