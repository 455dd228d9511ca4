"""A person's way through the chat page, in a real browser against a scripted model."""

import time

import pytest

from .browser import Page
from .scenes import error
from .stand_in import Play

pytestmark = pytest.mark.slow

LAST = ".turn.model:last-of-type"
BUBBLE = ".turn.user:nth-last-of-type(2) .bubble"


def chosen(page: Page) -> str:
    return page.text(f"{LAST} .switcher span")


def test_an_answer_streams_in_and_is_described_below(page: Page, play: Play) -> None:
    play.delay_s = 0.06
    page.say("slow answer")
    page.until(f"document.querySelector('{LAST} .markdown')?.textContent.includes('word3')")
    assert page.run("document.getElementById('transcript').getAttribute('aria-busy')") == "true"
    assert page.run("document.activeElement.id") == "ask"
    page.press("Escape")
    page.idle()
    assert play.asked[0]["contents"] == [{"role": "user", "parts": [{"text": "slow answer"}]}]
    assert page.ask("hello there") == "You said “hello there”."
    assert "tokens" in page.text(f"{LAST} .usage")


def test_stop_keeps_what_came_and_leaves_the_server(page: Page, play: Play) -> None:
    play.delay_s = 0.03
    page.say("slow answer")
    page.until(f"document.querySelector('{LAST} .markdown')?.textContent.includes('word5')")
    page.click("[aria-label=Stop]")
    page.idle()
    assert "word5" in page.text(f"{LAST} .markdown")
    assert page.text(f"{LAST} .notice strong") == "Stopped"
    deadline = time.monotonic() + 5
    while not play.left and time.monotonic() < deadline:
        time.sleep(0.05)
    assert play.left == 1


def test_history_is_sent_with_the_next_question(page: Page, play: Play) -> None:
    page.ask("first")
    page.ask("second")
    assert [turn["role"] for turn in play.asked[1]["contents"]] == ["user", "model", "user"]
    assert play.asked[1]["contents"][1]["parts"] == [{"text": "You said “first”."}]


def test_an_edit_is_a_branch_and_the_old_one_is_kept(page: Page, play: Play) -> None:
    page.ask("one")
    page.ask("two")
    page.press("ArrowUp")
    page.until("document.activeElement.getAttribute('aria-label') === 'Edit message'")
    page.run("document.activeElement.select()")
    page.type("three")
    page.press("Enter")
    page.until(f"document.querySelector('{BUBBLE}')?.textContent === 'three'")
    page.idle()
    assert page.text(f"{LAST} .turn-body") == "You said “three”."
    assert [t["parts"][0]["text"] for t in play.asked[2]["contents"]][::2] == ["one", "three"]
    assert page.text(".turn.user:nth-last-of-type(2) .switcher span") == "2 / 2"
    page.click(".turn.user:nth-last-of-type(2) [aria-label='Previous version']")
    assert page.text(f"{LAST} .turn-body") == "You said “two”."


def test_regenerate_keeps_both_answers(page: Page, play: Play) -> None:
    page.ask("hello")
    page.click(f"{LAST} [aria-label='Answer again']")
    page.click("[role=menuitem]")
    page.until(f"document.querySelector('{LAST} .switcher')")
    page.idle()
    assert chosen(page) == "2 / 2"
    assert len(play.asked) == 2
    assert play.asked[0]["contents"] == play.asked[1]["contents"]
    page.click(f"{LAST} [aria-label='Previous version']")
    assert chosen(page) == "1 / 2"


def test_three_drafts_come_in_one_stream_and_one_is_chosen(page: Page, play: Play) -> None:
    page.click(".composer .chip:nth-of-type(3)")
    page.say("a story")
    page.until("document.querySelectorAll('.draft').length === 3")
    page.idle()
    assert len(play.asked) == 1
    assert play.asked[0]["generationConfig"]["candidateCount"] == 3
    page.click(".draft:nth-of-type(2)")
    assert page.text(f"{LAST} .turn-body").startswith("Fog came in")
    page.click(".composer .chip[aria-pressed=true]")
    page.ask("go on")
    assert play.asked[1]["contents"][1]["parts"][0]["text"].startswith("Fog came in")
    assert "candidateCount" not in play.asked[1].get("generationConfig", {})


def test_a_reload_in_mid_answer_keeps_the_chat(page: Page, play: Play) -> None:
    play.delay_s = 0.04
    page.say("slow answer")
    page.until(f"document.querySelector('{LAST} .markdown')?.textContent.includes('word20')")
    page.reload()
    page.until(f"document.querySelector('{LAST} .markdown')?.textContent.includes('word10')")
    assert page.text(f"{LAST} .notice strong").startswith("The page was closed")
    play.delay_s = 0.005
    page.click(f"{LAST} .notice .button")
    page.idle()
    assert page.text(f"{LAST} .markdown").endswith("and this is the second half.")


def test_an_error_is_shown_and_can_be_tried_again(page: Page, play: Play) -> None:
    play.fail_once = error(500, "INTERNAL", "It fell over.")
    page.ask("hello")
    assert page.text(f"{LAST} .notice") == "Error 500 · INTERNAL\nIt fell over.\nTry again"
    page.click(f"{LAST} .notice .button")
    page.until(f"document.querySelector('{LAST} .markdown')")
    page.idle()
    assert page.text(f"{LAST} .turn-body") == "You said “hello”."
    assert page.count(".turn.model") == 1


def test_a_busy_server_is_asked_again_when_it_wants_to_be(page: Page, play: Play) -> None:
    wait = [{"retryDelay": "1.5s"}]
    play.fail_once = error(503, "UNAVAILABLE", "The queue is full.", details=wait)
    page.ask("hello")
    assert page.text(f"{LAST} .notice .button") == "Try again in 2 s"
    page.until(f"!document.querySelector('{LAST} .notice .button').disabled")
    page.click(f"{LAST} .notice .button")
    page.until(f"document.querySelector('{LAST} .markdown')")


@pytest.mark.parametrize(
    ("scene", "shown"),
    [
        ("break", "Error 503 · UNAVAILABLE\nThe model was unloaded.\nTry again"),
        ("cut", "Something went wrong\nThe answer ended before it was finished.\nTry again"),
        ("unsafe", "This message was blocked\nFound: harassment."),
        ("halt", "The answer was blocked for safety.\nFound: hate speech."),
        ("length", "The answer reached its length limit\nContinue"),
    ],
)
def test_what_went_wrong_is_said(page: Page, scene: str, shown: str) -> None:
    page.ask(f"{scene} it")
    assert page.text(f"{LAST} .notice") == shown


def test_the_window_follows_an_answer_until_one_scrolls_up(page: Page, play: Play) -> None:
    page.resize(1200, 500)
    page.ask("early " * 100)
    at_end = "(s => s.scrollHeight - s.scrollTop - s.clientHeight < 5)(scroller)"
    assert page.run(at_end)
    play.delay_s = 0.02
    page.say("slow answer")
    page.until("document.querySelector('.turn.model:last-of-type .markdown')")
    page.run("scroller.scrollTop = 0")
    page.until("!document.getElementById('down').hidden")
    page.run("new Promise(resolve => setTimeout(resolve, 300))")
    assert page.run("scroller.scrollTop") == 0
    page.click("#down")
    page.until(at_end)
    page.press("Escape")
    page.idle()


@pytest.mark.parametrize(("example", "asked"), [(1, "Draw"), (2, "What color"), (4, "Which way")])
def test_examples_are_ready_to_try(page: Page, play: Play, example: int, asked: str) -> None:
    page.click(f".examples li:nth-child({example}) button")
    page.until("document.querySelector('.turn.model')")
    page.idle()
    assert play.asked[0]["contents"][0]["parts"][-1]["text"].startswith(asked)


def test_a_chat_goes_on_while_another_is_shown(page: Page, play: Play) -> None:
    play.delay_s = 0.02
    page.say("slow answer")
    page.until("document.querySelector('.turn.model .markdown')")
    page.press("o", ctrl=True, shift=True)
    assert page.count(".send.busy") == 0
    assert page.ask("hello") == "You said “hello”."
    page.click(".talk:last-child .talk-open")
    page.until("document.querySelector('.send.busy')")
    page.press("Escape")
    page.idle()


def test_a_cut_answer_goes_on_where_it_ended(page: Page, play: Play) -> None:
    page.ask("length matters")
    page.click(f"{LAST} .notice .button")
    page.until(f"document.querySelector('{LAST} .markdown').textContent.includes('second')")
    page.idle()
    whole = "This is the first half and this is the second half."
    assert page.text(f"{LAST} .markdown") == whole
    assert play.asked[1]["contents"][-1]["role"] == "model"


def test_a_chat_that_is_too_long_offers_two_ways_on(page: Page, play: Play) -> None:
    page.ask("early " * 150)
    page.ask("late " * 30)
    assert "exceeds the maximum number of tokens" in page.text(f"{LAST} .notice p")
    page.click(f"{LAST} .notice-actions .button:nth-of-type(2)")
    page.until(f"document.querySelector('{LAST} .markdown')")
    page.idle()
    sent = play.asked[-1]["contents"]
    assert [turn["role"] for turn in sent] == ["user"]
    assert sent[0]["parts"][0]["text"].startswith("late")
    assert page.text(".left-out") == "What is above is not sent to the model."


def test_the_meter_counts_before_sending(page: Page) -> None:
    page.run("document.getElementById('ask').focus()")
    page.type("one two three")
    page.until("document.querySelector('.meter-text').textContent === '3 / 256'")
    page.type(" four" * 300)
    page.until("document.querySelector('.meter').classList.contains('over')")


def test_the_queue_is_told(page: Page, play: Play) -> None:
    play.delay_s = 0.6
    page.say("queue here")
    page.until("document.querySelector('.waiting')?.innerText === '2 requests are ahead of yours'")
    play.delay_s = 0.01
    page.idle()


def test_a_loading_model_is_waited_for(blank: Page, url: str, play: Play) -> None:
    play.status = "loading"
    blank.open(url)
    blank.until("document.querySelector('.banner.loading')")
    play.status = "ok"
    blank.until("!document.querySelector('.banner')")
    assert blank.text(".model-name") == "Castor Demo"


def test_a_server_that_wants_a_key_is_given_one(blank: Page, url: str, play: Play) -> None:
    play.key = "secret"
    blank.open(url)
    blank.until("document.activeElement.type === 'password'")
    blank.type("secret")
    blank.press("Enter")
    blank.until("document.querySelector('.model-name').textContent === 'Castor Demo'")
    assert blank.ask("hello") == "You said “hello”."


def test_thoughts_are_folded_and_stay_out_of_history(page: Page, play: Play) -> None:
    assert "The sum is 19." in page.ask("think hard")
    assert play.asked[0]["generationConfig"]["thinkingConfig"] == {"includeThoughts": True}
    assert page.run("document.querySelector('.thought').open") is False
    page.click(".thought summary")
    assert page.text(".thought .markdown") == "First the tens, then the ones."
    page.ask("again")
    assert play.asked[1]["contents"][1]["parts"] == [{"text": "The sum is 19."}]


def test_a_call_is_answered_by_the_user(page: Page, play: Play) -> None:
    page.ask("tool please")
    assert page.text(".tool-card summary") == "Wants to call get_weather"
    page.run("document.querySelector('.call-answer textarea').focus()")
    page.type("sunny")
    page.click(".call-answer .button")
    assert "This is no JSON" in page.text(".call-answer .field-error")
    page.run("document.querySelector('.call-answer textarea').value = '\"sunny\"'")
    page.click(".call-answer .button")
    page.until(f"document.querySelector('{LAST}')?.innerText.includes('sunny')")
    page.idle()
    call, response = play.asked[1]["contents"][1]["parts"][1], play.asked[1]["contents"][2]
    assert call["functionCall"]["id"] == "call-1"
    wanted = {"id": "call-1", "name": "get_weather", "response": {"result": "sunny"}}
    assert response == {"role": "user", "parts": [{"functionResponse": wanted}]}


def test_code_that_ran_is_shown_with_its_output(page: Page) -> None:
    shown = page.ask("execute this")
    assert "print(sum(range(10)))" in shown and "45" in shown


def test_an_answer_can_be_asked_for_in_another_way(page: Page, play: Play) -> None:
    page.ask("hello")
    page.click(f"{LAST} [aria-label='Change this answer']")
    page.click("[role=menuitem]:nth-of-type(3)")
    page.until("document.querySelectorAll('.turn.model').length === 2")
    page.idle()
    assert play.asked[1]["contents"][-1]["parts"][0]["text"].startswith("Make your last answer eas")
