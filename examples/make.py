"""Make the sample inputs of `castor demo`: python examples/make.py --data DIR

Drawings, sounds and clips are worlds of the playground's eval split, which training never sees.
The emoji and the spoken digit are records of eval splits, copied as they are.
"""

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from castor.core.content import Media, Text, Turn
from castor.core.media import open_image, open_video, png
from castor.data.images import Emoji
from castor.data.index import Shelf
from castor.data.playground.spec import Playground, Task
from castor.data.sounds import Fsdd

HERE = Path(__file__).resolve().parent
WORLDS: tuple[tuple[Task, int, str], ...] = (  # task, number in the eval split, name of the file
    ("shapes", 5, "shapes.png"),
    ("describe", 3, "scene.png"),
    ("sounds", 0, "tone.wav"),
    ("motion", 7, "moving.gif"),
    ("sums", 2, ""),
    ("draw", 6, "drawing.png"),
)
EMOJI, DIGIT = "flexed biceps, light skin tone", "7_jackson_3.flac"


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--data", metavar="DIR", type=Path, required=True)
    data = flags.parse_args().data
    records = [world(task, number, name) for task, number, name in WORLDS]
    records[2:2] = [emoji(data / "image/noto_emoji"), digit(data / "audio/fsdd")]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    (HERE / "demo.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def world(task: Task, number: int, name: str) -> dict[str, Any]:
    """A document of the playground with its medium in a file that people can open."""
    source = Playground(task).open(Path(), "eval")
    document = source.document(number, np.random.default_rng(0))
    turns = [turn_record(turn, name) for turn in document.turns]
    return {"contents": turns, "origin": document.origin, "tags": [task], "split": "eval"}


def turn_record(turn: Turn, name: str) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for part in turn.parts:
        if isinstance(part, Text):
            parts.append({"text": part.text})
        elif isinstance(part, Media):
            (HERE / name).write_bytes(readable(part))
            parts.append({"fileData": {"fileUri": name}})
    return {"role": turn.role, "parts": parts}


def readable(medium: Media) -> bytes:
    """The same medium in a format that everything opens: PNG, GIF, WAV."""
    if medium.mime.startswith("image/"):
        return png(open_image(medium.data, medium.mime))
    if not medium.mime.startswith("video/"):
        return medium.data
    clip, out = open_video(medium.data, medium.mime), io.BytesIO()
    first, *rest = [Image.fromarray(frame) for frame in clip.frames]
    step_ms = round(1000 * float(clip.times[1] - clip.times[0]))
    first.save(out, "GIF", save_all=True, append_images=rest, duration=step_ms, loop=0)
    return out.getvalue()


def emoji(folder: Path) -> dict[str, Any]:
    """One record of the emoji's eval split, in the size that the model knows them in."""
    found = next(r for r in index(folder) if r["caption"] == EMOJI and r["split"] == "eval")
    (HERE / "emoji.png").write_bytes(readable(Shelf(folder, side=Emoji.side).medium(found)))
    return record("emoji.png", Emoji.asks["name"][0], EMOJI, origin=f"noto_emoji/{found['id']}")


def digit(folder: Path) -> dict[str, Any]:
    """One record of the spoken digits' eval split."""
    found = next(r for r in index(folder) if r["file"] == DIGIT and r["split"] == "eval")
    (HERE / "digit.flac").write_bytes((folder / DIGIT).read_bytes())
    return record("digit.flac", Fsdd.asks[0], str(found["digit"]), origin=f"fsdd/{DIGIT}")


def record(file: str, question: str, answer: str, *, origin: str) -> dict[str, Any]:
    asked = {"role": "user", "parts": [{"fileData": {"fileUri": file}}, {"text": question}]}
    answered = {"role": "model", "parts": [{"text": answer}]}
    return {"contents": [asked, answered], "origin": origin, "tags": [], "split": "eval"}


def index(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main()
