"""The page's markdown: what it means, and what it never does. Runs in the browser that draws it."""

import json
from typing import Any

import pytest

from .browser import Page
from .scenes import TALK

pytestmark = pytest.mark.slow


def drawn(page: Page, text: str) -> str:
    """The markup of what the page shows for a text, without classes."""
    return page.run(
        "(async () => { const {drawMarkdown} = await import('/web/markdown/draw.js');"
        "const host = document.createElement('div');"
        f"drawMarkdown(host, {json.dumps(text)});"
        "for (const e of host.querySelectorAll('*')) e.removeAttribute('class');"
        "return host.innerHTML })()"
    )


def blocks(page: Page, text: str) -> Any:
    return page.run(
        "import('/web/markdown/blocks.js').then(({parseBlocks}) => "
        f"parseBlocks({json.dumps(text)}))"
    )


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("plain", "<p>plain</p>"),
        ("a **b *c* d** e", "<p>a <strong>b <em>c</em> d</strong> e</p>"),
        ("***both***", "<p><strong><em>both</em></strong></p>"),
        ("~~gone~~", "<p><del>gone</del></p>"),
        ("snake_case_name and 2*3*4", "<p>snake_case_name and 2<em>3</em>4</p>"),
        ("a * b * c", "<p>a * b * c</p>"),
        ("**open", "<p>**open</p>"),
        (r"\*not\* \`code\`", "<p>*not* `code`</p>"),
        ("`a < b` and ``a`b``", "<p><code>a &lt; b</code> and <code>a`b</code></p>"),
        ("one\ntwo", "<p>one<br>two</p>"),
        ("# One\n\n## Two", "<h3>One</h3><h4>Two</h4>"),
        ("Title\n---\ntext", "<h3>Title</h3><p>text</p>"),
        ("---", "<hr>"),
        ("> quoted\nstill", "<blockquote><p>quoted<br>still</p></blockquote>"),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("1. a\n  - b\n2. c", "<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>"),
        ("- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
        ("a costs $5 and b $6", "<p>a costs $5 and b $6</p>"),
        ("<b>bold</b>", "<p>&lt;b&gt;bold&lt;/b&gt;</p>"),
    ],
)
def test_markdown_means_what_it_says(page: Page, text: str, markup: str) -> None:
    assert drawn(page, text) == markup


def test_a_table_has_its_alignment(page: Page) -> None:
    (table,) = blocks(page, "|a|b|c|\n|:-|:-:|-:|\n|1|`x|y`|\\||\n|2|\n\nafter"[:-7])
    assert table["align"] == ["left", "center", "right"]
    assert table["rows"] == [["1", "`x|y`", "|"], ["2", "", ""]]


def test_code_keeps_its_text_and_language(page: Page) -> None:
    (code,) = blocks(page, "~~~python title\nif a < b:\n    pass\n~~~")
    assert code == {
        "kind": "code",
        "language": "python",
        "text": "if a < b:\n    pass",
        "closed": True,
    }
    (code,) = blocks(page, "```js\nstill coming")
    assert (code["text"], code["closed"]) == ("still coming", False)


@pytest.mark.parametrize("language", ["python", "js", "bash", "sql", "rust", "json", "html", "xyz"])
def test_colours_change_no_letter_of_code(page: Page, language: str) -> None:
    source = 'def f(x):  # "c"\n    return f"{x}" + `a` /* b */ -- d\n<a href="x">1e5 π\'s\n\\'
    text = page.run(
        "(async () => { const {drawCode} = await import('/web/markdown/highlight.js');"
        "const host = document.createElement('code');"
        f"drawCode(host, {json.dumps(source)}, {json.dumps(language)});"
        "return host.textContent })()"
    )
    assert text == source


def test_formulas_become_mathml(page: Page) -> None:
    page.ask("markdown please")
    page.until("document.querySelectorAll('.turn math').length === 5")
    assert page.count(".turn .math.display math") == 1
    assert page.run("document.querySelector('.turn .math.display math msup') !== null")


@pytest.mark.parametrize("tex", [r"\frac{1}{", r"\href{javascript:alert(1)}{x}", r"\nonsense{x}"])
def test_a_formula_that_cannot_be_read_stays_text(page: Page, tex: str) -> None:
    page.run(
        "(async () => { const {drawMarkdown} = await import('/web/markdown/draw.js');"
        "const host = document.createElement('div'); host.id = 'probe'; document.body.append(host);"
        f"drawMarkdown(host, {json.dumps(f'${tex}$')}) }})()"
    )
    page.until("globalThis.temml")
    assert page.count("#probe a") == 0
    assert page.count("#probe .math") == 1


def test_streaming_ends_in_what_the_whole_text_gives(page: Page) -> None:
    page.ask("markdown please")
    page.until("document.querySelectorAll('.turn math').length === 5")
    same = page.run(
        "(async () => { const {drawMarkdown} = await import('/web/markdown/draw.js');"
        "const host = document.createElement('div');"
        f"drawMarkdown(host, {json.dumps(TALK)});"
        "return host.innerHTML === document.querySelector('.turn.model .markdown').innerHTML })()"
    )
    assert same


def test_nothing_of_an_answer_runs_or_loads(page: Page, url: str) -> None:
    page.call("Network.enable")
    shown = page.ask("nasty text")
    assert "<script>" in shown and "onerror" in shown
    assert page.run("'hacked' in window") is False
    assert page.count(".turn.model .turn-body :is(script, img, iframe, object, style)") == 0
    links = page.run("[...document.querySelectorAll('.turn.model .markdown a')].map(a => a.href)")
    assert links == ["https://spy.example/pixel.png", "https://example.org/a?b=1&c=2"]
    page.run("new Promise(resolve => setTimeout(resolve, 200))")
    asked = [
        event["params"]["request"]["url"]
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert asked and all(address.startswith((url, "data:", "blob:")) for address in asked)


@pytest.mark.alone
@pytest.mark.parametrize(
    "text",
    ["[" * 3000, "*a " * 3000, "`" * 3001, "> " * 500 + "x", "- " * 400, "$" * 3001, "|" * 3000],
    ids=["brackets", "stars", "ticks", "quotes", "lists", "dollars", "bars"],
)
def test_odd_text_is_drawn_at_once(page: Page, text: str) -> None:
    seconds = page.run(
        "(async () => { const {drawMarkdown} = await import('/web/markdown/draw.js');"
        "const start = performance.now(); const host = document.createElement('div');"
        f"drawMarkdown(host, {json.dumps(text)}); return (performance.now() - start) / 1000 }})()"
    )
    assert seconds < 0.5
