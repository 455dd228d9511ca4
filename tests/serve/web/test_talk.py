"""What lies below the page: chats as trees, the wire's events, files in and out."""

import base64
import json
from typing import Any

import pytest

from .browser import Page
from .stand_in import Play

pytestmark = pytest.mark.slow

TALK = (
    "const {newTalk, addTurn, choose, path, siblings, titleOf, textOf} ="
    " await import('/web/talk/tree.js');"
    "const talk = newTalk({});"
    "const say = (parent, role, text, made) =>"
    " addTurn(talk, {parent, role, made, parts: [{text}]});"
    "const words = () => path(talk).map(textOf).join(' ');"
)


def run(page: Page, script: str) -> Any:
    return page.run(f"(async () => {{ {script} }})()")


def test_a_path_follows_what_was_chosen_last(page: Page) -> None:
    steps = run(
        page,
        TALK + "const seen = []; const a = say('', 'user', 'a', 1); const b = say(a.id, 'model',"
        "'b', 2); const c = say(b.id, 'user', 'c', 3); seen.push(words());"
        "const a2 = say('', 'user', 'A', 4); say(a2.id, 'model', 'B', 5); seen.push(words());"
        "choose(talk, a); seen.push(words()); const b2 = say(a.id, 'model', 'b2', 6);"
        "seen.push(words()); choose(talk, b); seen.push(words());"
        "return [...seen, siblings(talk, b2).length]",
    )
    assert steps == ["a b c", "A B", "a b c", "a b2", "a b c", 2]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("  **Hello**  there\nfriend ", "Hello there friend"),
        ("word " * 20, "word word word word word word word word word…"),
        ("", "New chat"),
    ],
)
def test_a_title_is_the_first_words(page: Page, text: str, title: str) -> None:
    script = f"say('', 'user', {json.dumps(text)}, 1); return titleOf(talk)"
    assert run(page, TALK + script) == title


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_the_same_however_the_bytes_were_cut(page: Page, size: int) -> None:
    events = [{"a": "čtyři 👩‍🚀"}, {"b": "line\u2028end"}, {"c": 3}]
    wire = b"".join(
        b"data: " + json.dumps(e, ensure_ascii=False).encode() + b"\r\n\r\n" for e in events
    )
    found = run(
        page,
        "const {readEvents} = await import('/web/talk/events.js');"
        f"const bytes = Uint8Array.from(atob('{base64.b64encode(wire).decode()}'),"
        " c => c.charCodeAt(0));"
        "const body = new ReadableStream({start(c) {"
        f"for (let i = 0; i < bytes.length; i += {size}) c.enqueue(bytes.slice(i, i + {size}));"
        "c.close() }});"
        "const found = []; for await (const event of readEvents(body)) found.push(event);"
        "return found",
    )
    assert found == events


def test_a_stream_cut_within_an_event_is_an_error(page: Page) -> None:
    message = run(
        page,
        "const {readEvents} = await import('/web/talk/events.js');"
        "const body = new Response('data: {\"a\":').body;"
        "try { for await (const event of readEvents(body)); } catch (e) { return e.message }",
    )
    assert message == "The connection broke in the middle of the answer."


def test_bytes_survive_both_alphabets_of_base64(page: Page) -> None:
    data = bytes(range(256))
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        back = run(
            page,
            "const {fromBase64, toBase64} = await import('/web/talk/bytes.js');"
            f"return toBase64(fromBase64('{encode(data).decode()}', 'image/png'))",
        )
        assert base64.b64decode(back) == data


def exported(page: Page) -> str:
    return run(
        page,
        "const {toJson} = await import('/web/talk/exports.js');"
        "const {state} = await import('/web/talk/session.js');"
        "return toJson([...state.talks.values()])",
    )


def test_an_exported_chat_comes_back_whole(page: Page) -> None:
    page.click(".composer .chip")
    page.ask("a red disc")
    before = json.loads(exported(page))
    run(
        page,
        "const {fromJson} = await import('/web/talk/exports.js');"
        f"await fromJson({json.dumps(json.dumps(before))})",
    )
    after = json.loads(exported(page))
    assert len(after["talks"]) == 2
    assert after["media"] == before["media"] and len(before["media"]) == 1
    assert [talk["turns"] for talk in after["talks"]] == [before["talks"][0]["turns"]] * 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no json", "the file is no JSON"),
        ("{}", "the file was not exported from this page"),
        ('{"format": "castor-chats", "talks": [{"title": 3}]}', "holds something that is no chat"),
        (
            '{"format": "castor-chats", "talks": [{"title": "a", "turns": {"x": {"id": "y"}}}]}',
            "the file holds something that is no chat",
        ),
    ],
)
def test_what_is_no_chat_is_not_imported(page: Page, text: str, why: str) -> None:
    message = run(
        page,
        "const {fromJson} = await import('/web/talk/exports.js');"
        f"try {{ await fromJson({json.dumps(text)}) }} catch (e) {{ return e.message }}",
    )
    assert why in message
    assert json.loads(exported(page))["talks"] == []


def test_markdown_and_a_page_hold_what_was_said(page: Page) -> None:
    page.ask("markdown please")
    page.click(".composer .chip")
    page.ask("a red disc")
    markdown, html = run(
        page,
        "const {toMarkdown, toPage} = await import('/web/talk/exports.js');"
        "const {state} = await import('/web/talk/session.js');"
        "return Promise.all([toMarkdown(state.current),"
        " toPage(state.current, document.getElementById('transcript'))])",
    )
    assert markdown.startswith("# markdown please\n\n## You\n\nmarkdown please\n\n## Castor")
    assert "np.linalg.lstsq" in markdown and "](data:image/png;base64," in markdown
    assert 'src="data:image/png;base64,' in html and "np.linalg" in html
    assert "<button" not in html and "blob:" not in html and "<script" not in html


def test_a_rating_goes_to_the_server_as_a_document(page: Page, play: Play) -> None:
    page.ask("hello")
    page.click("[aria-label='Answer again']")
    page.click("[role=menuitem]")
    page.until("document.querySelector('.turn.model .switcher')")
    page.idle()
    page.click("[aria-label='Bad answer']")
    page.click(".dialog .chip")
    page.run("document.querySelector('.dialog textarea').focus()")
    page.type("It only repeats.")
    page.click(".dialog .primary")
    page.until("!document.querySelector('dialog')")
    page.run("new Promise(resolve => setTimeout(resolve, 300))")
    (line,) = play.feedback
    assert line["contents"] == [
        {"role": "user", "parts": [{"text": "hello"}]},
        {"role": "model", "parts": [{"text": "You said “hello”."}]},
    ]
    assert (line["rating"], line["reason"]) == ("down", "It only repeats.")
    assert line["reasons"] == ["Not correct"]
    assert line["tags"] == ["rating/down"]
    assert [other["rating"] for other in line["others"]] == [None]
    kept = run(page, "return (await import('/web/talk/rating.js')).ratingLines()")
    assert [json.loads(row)["id"] for row in kept.splitlines()] == [line["id"]]
    page.click("[aria-label='Bad answer']")
    page.run("new Promise(resolve => setTimeout(resolve, 300))")
    assert (play.feedback[1]["id"], play.feedback[1]["rating"]) == (line["id"], None)
    assert run(page, "return (await import('/web/talk/rating.js')).ratingLines()") == ""


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_the_chat_is_a_program_for_this_server(page: Page, url: str, language: str) -> None:
    page.ask("it's \"quoted\" 'here'\nand $there")
    page.click(".header .wide-only")
    page.click(f".tab:nth-of-type({['curl', 'Python', 'JavaScript'].index(language) + 1})")
    code = page.text(".dialog pre")
    assert url.rstrip("/") in code and "castor-demo" in code
    if language == "Python":
        compile(code, "code", "exec")


def test_settings_are_sent(page: Page, play: Play) -> None:
    page.click(".sidebar-foot .button")
    fields = {"System instruction": "Be brief.", "Temperature": "0", "Top K": "5", "Seed": "7"}
    for name, value in fields.items():
        page.run(
            f"[...document.querySelectorAll('.dialog label')].find(l => l.textContent === '{name}')"
            ".control.focus()"
        )
        page.type(value)
    page.press("Escape")
    page.ask("hello")
    assert play.asked[0]["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    config = play.asked[0]["generationConfig"]
    assert (config["temperature"], config["topK"], config["seed"]) == (0, 5, 7)
    page.press("o", ctrl=True, shift=True)
    page.ask("hello")
    assert "systemInstruction" not in play.asked[1]
    assert play.asked[1]["generationConfig"]["topK"] == 5


def test_another_model_is_asked_after_it_is_picked(page: Page) -> None:
    page.click(".model-picker")
    page.click("[role=menuitemradio]:nth-of-type(2)")
    assert page.text(".model-name") == "Castor Large"
    page.until("document.querySelector('.meter-text').textContent === '0 / 33k'")


def test_chats_are_found_renamed_pinned_and_deleted(page: Page) -> None:
    for text in ("apples are red", "pears are green", "plums are blue"):
        page.ask(text)
        page.press("o", ctrl=True, shift=True)
    titles = "[...document.querySelectorAll('.talk-title')].map(t => t.textContent).join()"
    page.until(f"{titles} === 'plums are blue,pears are green,apples are red'")
    page.run("document.querySelector('.search').focus()")
    page.type("said pears")
    page.until(f"{titles} === 'pears are green'")
    page.run(
        "document.querySelector('.search').value = '';"
        "document.querySelector('.search').dispatchEvent(new Event('input'))"
    )
    page.until(f"{titles}.includes('apples')")
    page.click("[aria-label='More about apples are red']")
    page.click("[role=menuitem]:nth-of-type(2)")
    page.until(f"{titles}.startsWith('apples')")
    page.click("[aria-label='More about apples are red']")
    page.click("[role=menuitem]")
    page.type("Fruit")
    page.press("Enter")
    page.until(f"{titles}.startsWith('Fruit,')")
    page.click("[aria-label='More about plums are blue']")
    page.click("[role=menuitem].danger")
    page.until(f"{titles} === 'Fruit,pears are green'")
    page.click(".toast .link")
    page.until(f"{titles}.includes('plums are blue')")
    page.run("new Promise(resolve => setTimeout(resolve, 400))")  # it is kept soon, not at once
    page.reload()
    assert page.run(titles) == "Fruit,plums are blue,pears are green"
