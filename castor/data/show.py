"""A page that shows what a mixture really yields: media as varied, text, and loss in colour.

One HTML string with everything inside it: no scripts, no other files, nothing from the network.
"""

import base64
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

import numpy as np
from jaxtyping import Int32

from castor.core.batch import Batch
from castor.core.content import Document, Media, Part, Text
from castor.core.media import RATE, open_image, open_sound, open_video, png, wav
from castor.data.loader import Loader, Seen
from castor.tokens.control import SIDES, Control
from castor.tokens.render import Tokens
from castor.tokens.vocab import Vocab

COLOURS = (  # of the parts, in turn
    *("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#edc948"),
    *("#ff9da7", "#9c755f", "#8cd17d", "#86bcb6", "#d37295", "#a0cbe8", "#bab0ac"),
)
STYLE = """
:root { --ink: #1d2430; --soft: #667085; --line: #e3e6eb; --learned: 46, 160, 67; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 40px 28px 80px; color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; background: #fff; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 19px; margin: 44px 0 10px; padding-top: 18px; border-top: 1px solid var(--line); }
h2 i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 9px; }
p { margin: 4px 0 14px; color: var(--soft); }
table { border-collapse: collapse; width: 100%; font-size: 13.5px;
  font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 1px solid #b9c0cb; }
th, td { padding: 4px 10px; }
td { text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 8px; }
td.bad { color: #c4320a; font-weight: 600; }
a { color: inherit; text-decoration: none; } a:hover { text-decoration: underline; }
.rows { border: 1px solid var(--line); border-radius: 6px; overflow: hidden; margin: 10px 0 26px; }
.row { display: flex; height: 16px; border-bottom: 2px solid #fff; background: #f2f4f7; }
.row b { display: block; height: 100%; border-right: 1px solid #fff; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(500px, 1fr)); gap: 14px; }
.card { border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; min-width: 0; }
.origin { font-size: 12px; color: var(--soft); overflow-wrap: anywhere; margin-bottom: 8px; }
.turn { display: flex; gap: 10px; margin: 6px 0; }
.who { flex: 0 0 46px; font-size: 11.5px; color: var(--soft); padding-top: 3px; }
.said { min-width: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.said.model, .said.page { background: rgba(var(--learned), .13); border-radius: 6px;
  padding: 1px 8px; }
.media { margin: 3px 0 2px; white-space: normal; }
img { image-rendering: pixelated; border: 1px solid var(--line); border-radius: 4px;
  vertical-align: middle; margin: 2px 4px 4px 0; }
audio { height: 30px; vertical-align: middle; width: 250px; margin: 2px 0 4px; }
figure { display: inline-block; margin: 0 4px 0 0; }
figcaption { font-size: 11px; color: var(--soft); text-align: center; }
details { margin-top: 8px; font-size: 12.5px; } summary { color: var(--soft); cursor: pointer; }
.ids { font: 12px/1.9 ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere;
  max-height: 260px; overflow: auto; }
.ids span { border-radius: 3px; padding: 1px 1px; margin-right: 1px; background: #f0f1f4;
  white-space: pre-wrap; }
.ids .c { color: #6941c6; } .ids .m { color: #b54708; }
"""


def page(loader: Loader, *, count: int = 4, title: str = "mixture") -> str:
    """The page of a loader's mixture: its parts, the first batch, `count` documents of each part.

    Nothing is random beyond the loader's own seed.
    """
    parts = loader.mixture.parts
    sections = "".join(_section(loader, i, count) for i in range(len(parts)))
    batch, dropped = loader.packed(0)
    full = float((batch.segments > 0).mean())
    left = f"; {sum(dropped.values())} documents found no room" if dropped else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><body><h1>{escape(title)}</h1>"
        f"<p>{len(parts)} parts. What is green is learned; all else is only read.</p>"
        f"{_table(loader)}<h2>The first batch</h2><p>{batch.tokens.shape[0]} rows of "
        f"{batch.tokens.shape[1]} tokens, {full:.1%} full{left}. Every block is one document in "
        f"the colour of its part.</p>{_rows(batch)}{sections}</body></html>"
    )


def _table(loader: Loader) -> str:
    spans = loader.mixture.spans(loader.steps)
    starts = [0, *(span.end for span in spans)]
    heads = [f"share, steps {a}–{b - 1}" for a, b in pairwise(starts)]
    if len(spans) == 1:
        heads = ["share"]
    heads = [head for share in heads for head in (share, "weight of each target")]
    weights = [loader.emphases(span.end - 1) for span in spans]
    lines: list[str] = []
    for i, (part, measure) in enumerate(zip(loader.mixture.parts, loader.measures, strict=True)):
        shares = "".join(
            f"<td>{span.shares[i]:.1%}</td><td>{weight[i]:.2f}</td>"
            for span, weight in zip(spans, weights, strict=True)
        )
        name = escape(part.source.name)
        lines.append(
            f'<tr><td><i style="background:{_colour(i)}"></i><a href="#part{i}">{name}</a></td>'
            f"{shares}<td>{measure.tokens:.0f}</td><td>{measure.targets:.1f}</td>"
            f"{_fits(measure.fits)}</tr>"
        )
    columns = "".join(f"<th>{escape(head)}</th>" for head in heads)
    return (
        f"<table><tr><th>part</th>{columns}<th>tokens of a document</th>"
        f"<th>of them learned</th><th>documents that fit</th></tr>"
        f"{''.join(lines)}</table>"
    )


def _fits(share: float) -> str:
    style = "" if share == 1 else ' class="bad"'
    return f"<td{style}>{share:.0%}</td>"


def _rows(batch: Batch) -> str:
    """Each row as a bar: a block for each document, as wide as it is long."""
    rows: list[str] = []
    for segments, sources in zip(batch.segments, batch.sources, strict=True):
        blocks = [
            f'<b style="width:{100 * size / len(segments):.3f}%;background:{colour}"></b>'
            for size, colour in _blocks(segments, sources)
        ]
        rows.append(f'<div class="row">{"".join(blocks)}</div>')
    return f'<div class="rows">{"".join(rows)}</div>'


def _blocks(
    segments: Int32[np.ndarray, " T"], sources: Int32[np.ndarray, " T"]
) -> Iterator[tuple[int, str]]:
    for number in range(1, int(segments.max()) + 1):
        here = np.flatnonzero(segments == number)
        yield len(here), _colour(int(sources[here[0]]))


def _colour(part: int) -> str:
    return COLOURS[part % len(COLOURS)]


def _section(loader: Loader, part: int, count: int) -> str:
    cards: list[str] = []
    for number in range(count):
        seen: Seen = []
        tokens = loader.render(part, number, seen=seen)
        document = loader.document(part, number)
        cards.append(_card(document, tokens, seen, loader.vocab))
    name = escape(loader.mixture.names[part])
    mark = f'<i style="background:{_colour(part)}"></i>'
    body = f'<div class="cards">{"".join(cards)}</div>'
    return f'<h2 id="part{part}">{mark}{name}</h2>{body}'


def _card(document: Document, tokens: Tokens, seen: Seen, vocab: Vocab) -> str:
    shown = iter(seen)
    turns = "".join(
        f'<div class="turn"><div class="who">{turn.role}</div><div class="said {turn.role}">'
        f"{''.join(_part(part, turn.role, shown) for part in turn.parts)}</div></div>"
        for turn in document.turns
    )
    learned = int((tokens.weights > 0).sum())
    return (
        f'<div class="card"><div class="origin">{escape(document.origin)}</div>{turns}'
        f"<details><summary>{len(tokens.ids)} tokens, {learned} learned</summary>"
        f'<div class="ids">{_ids(tokens, vocab)}</div></details></div>'
    )


def _part(part: Part, role: str, shown: Iterator[list[tuple[str, np.ndarray]]]) -> str:
    if isinstance(part, Text):
        long = len(part.text) > 900
        return escape(part.text[:900]) + ("…" if long else "")
    if not isinstance(part, Media):
        return f"<code>{escape(repr(part))}</code>"
    if role == "model" and part.mime.startswith("image/"):
        return _media(_opened(part))
    return _media(next(shown))


def _opened(media: Media) -> list[tuple[str, np.ndarray]]:
    """A medium's pictures and sounds, for one that is not perceived but drawn."""
    if media.mime.startswith("image/"):
        return [("image", open_image(media.data, media.mime))]
    if media.mime.startswith("audio/"):
        return [("audio", open_sound(media.data, media.mime))]
    return [("image", frame) for frame in open_video(media.data, media.mime).frames]


def _media(shown: Sequence[tuple[str, np.ndarray]]) -> str:
    """Pictures at two to four times their size, sounds as players."""
    html: list[str] = []
    for kind, values in shown:
        if kind == "audio":
            source = _uri("audio/wav", wav(values))
            length = f"{len(values) / RATE:.1f} s"
            html.append(f'<figure><audio controls src="{source}"></audio> {length}</figure>')
            continue
        height, width = values.shape[:2]
        zoom = max(1.0, min(4.0, 160 / max(height, width if len(shown) == 1 else 2 * width)))
        html.append(
            f'<img src="{_uri("image/png", png(values))}" width="{round(width * zoom)}" '
            f'height="{round(height * zoom)}" alt="{width} by {height} pixels">'
        )
    return f'<div class="media">{"".join(html)}</div>'


def _uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _ids(tokens: Tokens, vocab: Vocab) -> str:
    """Every id as a box: green as it is learned; runs of slots and codes as one box."""
    html: list[str] = []
    ids, weights = tokens.ids.tolist(), tokens.weights.tolist()
    i = 0
    while i < len(ids):
        run = i + 1
        slot = ids[i] in _slots(vocab) or ids[i] in vocab.codes
        while slot and run < len(ids) and _alike(ids[i], ids[run], vocab):
            run += 1
        text, style = _label(ids[i], vocab)
        times = f" × {run - i}" if run - i > 1 else ""
        green = f' style="background:rgba(var(--learned),{0.3 * min(weights[i], 1):.2f})"'
        tip = f"id {ids[i]}, weight {weights[i]:g}"
        learned = green if weights[i] else ""
        html.append(f'<span class="{style}"{learned} title="{tip}">{escape(text)}{times}</span>')
        i = run
    return "".join(html)


def _slots(vocab: Vocab) -> list[int]:
    return [slots.slot for slots in vocab.dialogue.slots.values()]


def _name(i: int, vocab: Vocab) -> str:
    if not vocab.dialogue.draws:  # not one of ours
        return vocab.pieces[i].text
    if Control.SIDE < i <= Control.SIDE + SIDES:
        return f"side {i - Control.SIDE}"
    return Control(i).name.lower()


def _alike(one: int, other: int, vocab: Vocab) -> bool:
    return one == other or (one in vocab.codes and other in vocab.codes)


def _label(i: int, vocab: Vocab) -> tuple[str, str]:
    """How an id is written, and its class: c control, m medium, t text."""
    if i in vocab.codes:
        return "‹code›", "m"
    if not vocab.is_text(i):
        return f"‹{_name(i, vocab)}›", "m" if i in _slots(vocab) else "c"
    data = vocab.piece_bytes(i)
    try:
        return data.decode().replace("\n", "↵\n"), "t"
    except UnicodeDecodeError:
        return "".join(f"⟨{byte:02X}⟩" for byte in data), "t"
