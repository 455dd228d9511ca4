"""Clips: frames, times and sound of every kind of container, and every refusal."""

import builtins
import io
import json
import sys
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from castor.core.clip import Clip, Limits
from castor.core.content import Media
from castor.core.media import (
    frames_media,
    media_from_file,
    named_media,
    open_sound,
    open_video,
    png,
    ppm,
    wav,
)
from castor.core.mime import FRAMES, sniff

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
STILLS = np.stack([np.full((32, 48, 3), colour, np.uint8) for colour in COLOURS])
TIMES = np.array([0.0, 0.5, 1.5], np.float32)
TONE = (0.5 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)).astype(np.float32)


def animation(kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    first, *rest = [Image.fromarray(frame) for frame in STILLS]
    first.save(out, kind, save_all=True, append_images=rest, **options)
    return out.getvalue()


def container(
    kind: str, codec: str, sound: str | None, *, frames: int = 6, stills: np.ndarray = STILLS
) -> bytes:
    """A clip of half-second frames, red, green, blue and again, with a tone of 3 seconds."""
    av = pytest.importorskip("av")
    out = io.BytesIO()
    with av.open(out, "w", format=kind) as writer:
        film = writer.add_stream(codec, rate=2, width=48, height=32, pix_fmt="yuv420p")
        film.time_base = Fraction(1, 2)
        track = writer.add_stream(sound, rate=48_000, layout="mono") if sound else None
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(stills[i % 3], format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 2)
            writer.mux(film.encode(frame))
        writer.mux(film.encode(None))
        if track is not None:
            samples = 0.5 * np.sin(np.arange(3 * 48_000) * 2 * np.pi * 440 / 48_000)
            part = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "fltp", "mono")
            part.sample_rate, part.pts = 48_000, 0
            resampler = av.AudioResampler(track.format, "mono", 48_000, track.frame_size or 960)
            for piece in [*resampler.resample(part), *resampler.resample(None)]:
                writer.mux(track.encode(piece))
            writer.mux(track.encode(None))
    return out.getvalue()


def colours(clip: Clip) -> list[int]:
    """Which of the three colours each frame shows."""
    middle = clip.frames[:, 16, 24].astype(int)
    return [int(colour.argmax()) for colour in middle]


def test_frames_times_and_sound_come_back_exactly() -> None:
    media = frames_media(STILLS, TIMES, TONE)
    assert media.mime == FRAMES == sniff(media.data)
    clip = open_video(media.data, media.mime)
    np.testing.assert_array_equal(clip.frames, STILLS)
    np.testing.assert_array_equal(clip.times, TIMES)
    assert clip.sound is not None
    np.testing.assert_allclose(clip.sound, TONE, atol=1e-4)


def test_the_same_frames_are_the_same_bytes() -> None:
    assert frames_media(STILLS, TIMES) == frames_media(STILLS, TIMES)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_is_a_clip_with_its_times(kind: str) -> None:
    options = {"duration": [500, 1000, 250]} | ({"lossless": True} if kind == "WEBP" else {})
    data = animation(kind, **options)
    media = named_media(f"clip.{kind.lower()}", data)
    assert media == Media(f"video/{kind.lower()}", data)
    clip = open_video(data, media.mime)
    np.testing.assert_allclose(clip.times, [0.0, 0.5, 1.5])
    assert colours(clip) == [0, 1, 2]
    assert clip.sound is None


def test_an_animation_without_pace_shows_ten_frames_a_second() -> None:
    clip = open_video(animation("GIF", duration=0), "video/gif")
    np.testing.assert_allclose(clip.times, [0.0, 0.1, 0.2], atol=1e-6)


def test_a_still_picture_is_no_clip_by_its_name() -> None:
    assert named_media("a.gif", png(STILLS[0])).mime == "image/png"


@pytest.mark.parametrize(
    ("kind", "codec", "sound", "ending"),
    [
        ("mp4", "mpeg4", "aac", ".mp4"),
        ("mov", "mpeg4", "aac", ".mov"),
        ("matroska", "mpeg4", "libopus", ".mkv"),
        ("webm", "libvpx", "libopus", ".webm"),
        ("avi", "mpeg4", "mp2", ".avi"),
    ],
)
def test_every_kind_of_container_is_read(kind: str, codec: str, sound: str, ending: str) -> None:
    data = container(kind, codec, sound)
    media = named_media("clip" + ending, data)
    assert media.mime.startswith("video/")
    clip = open_video(media.data, media.mime)
    assert clip.frames.shape == (6, 32, 48, 3)
    assert colours(clip) == [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(clip.times, np.arange(6) / 2, atol=0.01)
    assert clip.sound is not None and abs(len(clip.sound) - 48_000) < 2400
    assert 0.3 < np.sqrt((clip.sound[8000:40_000] ** 2).mean()) < 0.4


def test_a_clip_without_sound_has_none() -> None:
    assert open_video(container("mp4", "mpeg4", None), "video/mp4").sound is None


def test_a_clip_that_a_telephone_held_upright_is_turned() -> None:
    stills = np.zeros_like(STILLS)
    stills[:, :, :24] = 255  # the left half is white
    data = bytearray(container("mp4", "mpeg4", None, stills=stills))
    matrix = data.index(b"tkhd") + 4 + 40
    quarter = np.array([0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000], ">i4")
    data[matrix : matrix + 36] = quarter.tobytes()
    frames = open_video(bytes(data), "video/mp4").frames
    assert frames.shape == (6, 48, 32, 3)
    assert frames[0, :20].min() > 200 and frames[0, 28:].max() < 50  # now it is the upper half


def test_the_sound_of_a_video_can_be_heard_alone() -> None:
    data = container("mp4", "mpeg4", "aac")
    samples = open_sound(data, "audio/mp4")
    assert abs(len(samples) - 48_000) < 2400


def test_a_recording_in_an_m4a_is_heard() -> None:
    data = container("mp4", "mpeg4", "aac").replace(b"ftypisom", b"ftypM4A ", 1)
    assert named_media("memo.m4a", data).mime == "audio/mp4"
    assert len(open_sound(data, "audio/mp4")) > 40_000


def test_a_container_without_pictures_or_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="the audio/mp4 file holds no sound"):
        open_sound(container("mp4", "mpeg4", None), "audio/mp4")


def test_frames_that_would_fill_the_memory_are_thinned_evenly() -> None:
    data = container("mp4", "mpeg4", None, frames=20)
    clip = open_video(data, "video/mp4", limits=Limits(pixels=32 * 48))
    assert clip.times.tolist() == [0, 4, 8]
    clip = open_video(data, "video/mp4", limits=Limits(pixels=3 * 32 * 48))
    assert clip.times.tolist() == [float(t) for t in range(10)]


GIF = animation("GIF", duration=500)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Limits(frames=2), "the video/gif clip has more than 2 frames"),
        (Limits(seconds=0.6), "has a frame at 1 s; 0 to 0.6 s are read"),
        (Limits(pixels=1000), "48 by 32 pixels; at most 1,000 are opened"),
        (Limits(work=4000), "has more than 4,000 pixels in all its frames"),
    ],
)
def test_a_clip_beyond_the_limits_is_refused(limits: Limits, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        open_video(GIF, "video/gif", limits=limits)


def test_limits_hold_for_containers_too() -> None:
    data = container("mp4", "mpeg4", "aac")
    with pytest.raises(ValueError, match="more than 5 frames"):
        open_video(data, "video/mp4", limits=Limits(frames=5))
    with pytest.raises(ValueError, match="the video/mp4 clip has a frame at 2 s"):
        open_video(data, "video/mp4", limits=Limits(seconds=1.9))
    with pytest.raises(ValueError, match="48 by 32 pixels"):
        open_video(data, "video/mp4", limits=Limits(pixels=99))
    with pytest.raises(ValueError, match="the sound lasts more than 1 s"):
        open_sound(data, "video/mp4", limits=Limits(seconds=1))


def test_a_huge_gif_is_refused_before_it_is_decoded() -> None:
    bomb = GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:]
    with pytest.raises(ValueError, match=r"too large|65535 by 65535 pixels"):
        open_video(bomb, "video/gif")


def test_text_called_mp4_is_refused(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_text("this is text, not a film")
    with pytest.raises(ValueError, match="film.mp4 is called video/mp4 but its content is not"):
        media_from_file(tmp_path / "film.mp4")
    with pytest.raises(ValueError, match=r"called video/mp4 are no clip \(unknown content\)"):
        open_video(b"this is text, not a film", "video/mp4")


def test_a_clip_that_is_empty_or_a_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="the video/mp4 medium is empty"):
        open_video(b"", "video/mp4")
    with pytest.raises(ValueError, match=r"are no clip \(audio/wav content\)"):
        open_video(wav(TONE), "video/mp4")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_container_cut_short_is_refused(keep: float) -> None:
    data = container("mp4", "mpeg4", "aac")
    with pytest.raises(ValueError, match="video/mp4 clip (cannot be read|is damaged)"):
        open_video(data[: int(keep * len(data))], "video/mp4")


def test_a_gif_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="video/gif clip is damaged or cut short"):
        open_video(GIF[:-40], "video/gif")


def test_without_the_extra_a_container_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data, real = container("mp4", "mpeg4", None), builtins.__import__

    def without_av(name: str, *rest: Any) -> Any:
        if name == "av":
            raise ImportError("no av")
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "av", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(ValueError, match=r"video/mp4 needs the extra `video`: install castor\[vi"):
        open_video(data, "video/mp4")
    assert len(open_video(GIF, "video/gif").frames) == 3


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, data in members.items():
            writer.writestr(name.replace("_", "."), data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (archive(), "the clip of frames holds no frame"),
        (archive(a_ppm=ppm(STILLS[0]), times_json=b"[0, 1]"), "has 1 frames but 2 times"),
        (archive(a_ppm=ppm(STILLS[0]), times_json=b"[-1]"), "has a frame at -1 s"),
        (archive(a_ppm=ppm(STILLS[0]), times_json=b"[NaN]"), "has a frame at nan s"),
        (archive(a_ppm=ppm(STILLS[0]), times_json=b'["x"]'), "is damaged: could not convert"),
        (archive(a_ppm=ppm(STILLS[0]), times_json=b"{"), "is damaged"),
        (archive(a_ppm=b"P6 9 9 255\nx"), "the PPM picture is cut short"),
        (archive(a_ppm=ppm(STILLS[0]), b_ppm=ppm(STILLS[0][:9])), "differ in size"),
        (
            archive(a_ppm=ppm(STILLS[0]), b_ppm=ppm(STILLS[1]), times_json=b"[1, 0]"),
            "the times of the clip of frames go back",
        ),
        (archive(a_ppm=bytes(170_000_000)), "holds a file of more than 160,000,000 bytes"),
        (archive(a_ppm=ppm(STILLS[0]), sound_wav=b"no"), "is damaged: the audio/wav sound cannot"),
        (b"PK\x03\x04 no archive", "is damaged"),
    ],
)
def test_frames_that_make_no_clip_are_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        open_video(data, FRAMES)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=9))
def test_damaged_frames_open_or_are_refused_in_a_sentence(changes: list[tuple[int, int]]) -> None:
    broken = bytearray(frames_media(STILLS[:, :4, :4], TIMES).data)
    for place, value in changes:
        broken[place % len(broken)] = value
    try:
        assert open_video(bytes(broken), FRAMES).frames.ndim == 4
    except ValueError as error:
        assert str(error)


def test_a_folder_of_pictures_is_a_clip(tmp_path: Path) -> None:
    for i in (0, 1, 2):
        (tmp_path / f"{i * 9 + 1}.png").write_bytes(png(STILLS[i]))  # 1.png, 10.png, 19.png
    (tmp_path / "2.png").write_bytes(png(STILLS[2]))
    (tmp_path / "notes.txt").write_text("not a frame")
    clip = open_video(media_from_file(tmp_path).data, FRAMES)
    assert colours(clip) == [0, 2, 1, 2]
    assert clip.times.tolist() == [0, 1, 2, 3]


def test_a_folder_may_have_times_and_sound(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.ppm").write_bytes(ppm(STILLS[i]))
    (tmp_path / "times.json").write_text(json.dumps(TIMES.tolist()))
    (tmp_path / "sound.wav").write_bytes(wav(TONE))
    assert media_from_file(tmp_path) == frames_media(STILLS, TIMES, TONE)


def test_a_folder_that_is_no_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder without pictures"):
        media_from_file(tmp_path)
    (tmp_path / "a.png").write_bytes(png(STILLS[0]))
    (tmp_path / "b.png").write_bytes(png(STILLS[0][:5]))
    with pytest.raises(ValueError, match="differ in size"):
        media_from_file(tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "mime"),
    [
        ("a.png", png(STILLS[0]), "image/png"),
        ("a.jpg", png(STILLS[0]), "image/png"),
        ("a", png(STILLS[0]), "image/png"),
        ("a.WAV", wav(TONE), "audio/wav"),
    ],
)
def test_the_content_decides_and_the_name_need_not(name: str, data: bytes, mime: str) -> None:
    assert named_media(name, data) == Media(mime, data)


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.wav", b"", "a.wav is empty"),
        ("a.doc", b"words", r"a.doc: unknown kind of file; known endings are \.png"),
        ("a.png", b"words", "a.png is called image/png but its content is not"),
    ],
)
def test_a_file_of_no_known_kind_is_refused(name: str, data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        named_media(name, data)


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        media_from_file(tmp_path / "none.png")
