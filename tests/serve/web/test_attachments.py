"""Files, pictures and sounds on their way into a message: chosen, dropped, pasted, recorded."""

import base64
import struct
from pathlib import Path

import pytest

from .browser import Page
from .scenes import png
from .stand_in import Play

pytestmark = pytest.mark.slow

LAST = ".turn.model:last-of-type"


def test_pictures_and_sounds_are_sent_before_the_words(
    page: Page, play: Play, tmp_path: Path
) -> None:
    picture, sound = tmp_path / "dot.png", tmp_path / "beep.wav"
    picture.write_bytes(base64.b64decode(png()))
    sound.write_bytes(b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(28))
    page.attach(picture, sound)
    page.until("document.querySelectorAll('#composer .attachment').length === 2")
    assert page.ask("what is this") == "You said “what is this” and sent 2 files."
    first, second, third = play.asked[0]["contents"][0]["parts"]
    assert first["inlineData"] == {"mimeType": "image/png", "data": png()}
    assert second["inlineData"]["mimeType"] == "audio/wav"
    assert third == {"text": "what is this"}


def test_an_attachment_can_be_taken_back(page: Page, tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(base64.b64decode(png()))
    page.attach(tmp_path / "dot.png")
    page.click("[aria-label='Remove dot.png']")
    assert page.count("#composer .attachment") == 0
    assert page.run("document.querySelector('.send').disabled")


def test_large_files_are_uploaded_in_chunks(page: Page, play: Play, tmp_path: Path) -> None:
    large = b"\x1aE\xdf\xa3" + bytes(9 * 2**20)
    (tmp_path / "clip.webm").write_bytes(large)
    page.attach(tmp_path / "clip.webm")
    page.until("document.querySelector('#composer .attachment')")
    page.ask("what happens")
    assert list(play.uploads.values()) == [large]
    data = play.asked[0]["contents"][0]["parts"][0]["fileData"]
    assert data["fileUri"].endswith("/files/up-0")
    page.ask("and then")
    assert len(play.uploads) == 1


def test_a_text_file_is_sent_as_text(page: Page, play: Play, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("two lines\nof notes")
    page.attach(tmp_path / "notes.md")
    page.until("document.querySelector('#composer .attachment')")
    page.ask("sum it up")
    assert play.asked[0]["contents"][0]["parts"][0] == {"text": "notes.md:\n\ntwo lines\nof notes"}
    assert page.text(".turn.user .attachment b") == "notes.md"


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("empty.png", b"", "empty.png is empty"),
        ("a.bin", b"\x00", "a.bin is no picture, sound, clip, text or PDF"),
    ],
)
def test_what_cannot_be_sent_is_refused(
    page: Page, tmp_path: Path, name: str, data: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(data)
    page.attach(tmp_path / name)
    assert page.text(".toast span") == why


def test_pasted_pictures_are_attached(page: Page) -> None:
    page.run(
        "(() => { const data = new DataTransfer();"
        "data.items.add(new File([new Uint8Array(9)], 'shot.png', {type: 'image/png'}));"
        "document.getElementById('ask').dispatchEvent("
        "new ClipboardEvent('paste', {clipboardData: data, bubbles: true})) })()"
    )
    page.until("document.querySelector('#composer .attachment')")


def test_the_microphone_gives_sixteen_kilohertz_mono(page: Page, play: Play) -> None:
    page.click("#composer [aria-label='Record sound']")
    page.until("document.querySelector('.recorder-time')?.textContent === '0:01'")
    page.click("[aria-label='Attach recording']")
    page.until("document.querySelector('#composer .attachment audio')")
    page.ask("what is said")
    data = play.asked[0]["contents"][0]["parts"][0]["inlineData"]
    wav = base64.b64decode(data["data"])
    kind, channels, rate = struct.unpack("<HHI", wav[20:28])
    assert (data["mimeType"], kind, channels, rate) == ("audio/wav", 1, 1, 16_000)
    assert len(wav) - 44 == pytest.approx(2 * 16_000 * 1.2, rel=0.35)
    samples = struct.unpack(f"<{(len(wav) - 44) // 2}h", wav[44:])
    assert max(samples) > 500


def test_a_cancelled_recording_leaves_nothing(page: Page) -> None:
    page.click("#composer [aria-label='Record sound']")
    page.click("[aria-label='Cancel recording']")
    page.until("!document.querySelector('.recorder')")
    assert page.count("#composer .attachment") == 0


def open_camera(page: Page) -> None:
    page.click("[aria-label='Add files']")
    page.click("[role=menuitem]:nth-of-type(2)")
    page.until("document.querySelector('.dialog .primary')?.disabled === false")


def sent(page: Page, play: Play) -> tuple[str, bytes]:
    """Mime and bytes of what is attached, as they reach the server."""
    page.ask("what is this")
    data = play.asked[0]["contents"][0]["parts"][0]["inlineData"]
    return data["mimeType"], base64.b64decode(data["data"])


def test_the_camera_gives_a_picture(page: Page, play: Play) -> None:
    open_camera(page)
    page.click(".dialog .primary")
    page.until("document.querySelector('#composer .attachment img')?.naturalWidth > 0")
    mime, data = sent(page, play)
    assert mime == "image/jpeg"
    assert data.startswith(b"\xff\xd8\xff") and len(data) > 1000


def test_the_camera_gives_a_clip(page: Page, play: Play) -> None:
    open_camera(page)
    record = ".dialog .button:not(.primary)"
    assert page.text(record) == "Record clip"
    page.click(record)
    page.until(f"document.querySelector('{record}').innerText === 'Stop'")
    assert page.run("document.querySelector('.dialog .primary').disabled")
    page.run("new Promise(resolve => setTimeout(resolve, 800))")
    page.click(record)
    page.until("document.querySelector('#composer .attachment video')")
    mime, data = sent(page, play)
    assert mime == "video/webm"
    assert data.startswith(b"\x1aE\xdf\xa3") and len(data) > 1000


def test_a_closed_camera_leaves_nothing_and_is_let_go(page: Page) -> None:
    open_camera(page)
    page.run("window.watched = document.querySelector('.camera-view').srcObject")
    page.press("Escape")
    page.until("!document.querySelector('dialog')")
    assert page.run("watched.getTracks().map(t => t.readyState).join()") == "ended"
    assert page.count("#composer .attachment") == 0


def test_a_camera_that_comes_after_it_was_closed_is_let_go(page: Page) -> None:
    page.run(
        "(() => { const media = navigator.mediaDevices, open = media.getUserMedia.bind(media);"
        "media.getUserMedia = async (wanted) => { await new Promise(r => window.letIn = r);"
        " return window.watched = await open(wanted) } })()"
    )
    page.click("[aria-label='Add files']")
    page.click("[role=menuitem]:nth-of-type(2)")
    page.until("window.letIn && document.querySelector('.camera-view')")
    page.press("Escape")
    page.until("!document.querySelector('dialog')")
    page.run("letIn()")
    page.until("window.watched?.getTracks().every(t => t.readyState === 'ended')")


def test_a_camera_that_is_refused_says_why(page: Page) -> None:
    page.run(
        "navigator.mediaDevices.getUserMedia = async () => {"
        " throw new DOMException('no', 'NotAllowedError') }; 0"
    )
    page.click("[aria-label='Add files']")
    page.click("[role=menuitem]:nth-of-type(2)")
    page.until("document.querySelector('.camera-problem')?.hidden === false")
    assert page.text(".camera-problem") == "The browser does not allow this page the camera."
    assert page.run("document.querySelector('.dialog .primary').disabled")


def test_a_drawn_picture_can_be_used_as_input(page: Page, play: Play) -> None:
    page.click(".composer .chip")
    page.say("a red disc")
    page.until(f"document.querySelector('{LAST} img')?.naturalWidth === 64")
    page.idle()
    assert play.asked[0]["generationConfig"]["responseModalities"] == ["IMAGE"]
    assert page.run(f"document.querySelector('{LAST} img').alt") == "Picture for: a red disc"
    page.click(f"{LAST} figcaption .button:nth-of-type(2)")
    page.until("document.querySelector('#composer .attachment img')")
    page.ask("what is it")
    parts = play.asked[1]["contents"][-1]["parts"]
    assert parts[0]["inlineData"]["data"] == png()


def test_a_dropped_file_is_attached(page: Page) -> None:
    page.run(
        "(() => { const dataTransfer = new DataTransfer();"
        "dataTransfer.items.add(new File([new Uint8Array(9)], 'a.png', {type: 'image/png'}));"
        "for (const kind of ['dragover', 'drop']) document.body.dispatchEvent("
        "new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true})) })()"
    )
    page.until("document.querySelector('#composer .attachment')")
