"""Encoded bytes to arrays and back: pictures, sound and clips, within limits.

Invariant: nothing is decoded before its size is known to be within the limits, where the format
says so; every refusal is one sentence. This guards against accidents and simple bombs. It does not
sandbox the decoders: open files from strangers in a process that may be lost.
"""

import io
import json
import re
import warnings
import wave
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32, UInt8
from PIL import Image, ImageOps, ImageSequence

from castor.core.content import Media
from castor.core.files import read_bytes

RATE = 16_000
FRAMES = "video/x-castor-frames"  # a zip of 00000.ppm, …, times.json and perhaps sound.wav
MIMES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".ppm": "image/x-portable-pixmap",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
}
MAGIC = (
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"RIFF....WEBP", "image/webp"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"BM....\x00\x00\x00\x00", "image/bmp"),
    (rb"P6\s", "image/x-portable-pixmap"),
    (rb"RIFF....WAVE", "audio/wav"),
    (rb"fLaC", "audio/flac"),
    (rb"OggS", "audio/ogg"),
    (rb"ID3|\xff[\xf2\xf3\xfb]", "audio/mpeg"),
    (rb"....ftypqt", "video/quicktime"),
    (rb"....ftyp", "video/mp4"),
    (rb"\x1aE\xdf\xa3", "video/x-matroska"),
    (rb"RIFF....AVI ", "video/x-msvideo"),
)


@dataclass(frozen=True)
class Limits:
    """The most that is decoded; all [ours]."""

    pixels: int = 40_000_000  # of one picture or frame
    seconds: float = 3600.0  # of sound or of a clip
    frames: int = 2000  # of a clip


class Clip(NamedTuple):
    """A decoded clip: frames with their times in seconds, and its sound if it has any."""

    frames: UInt8[np.ndarray, "F h w 3"]
    times: Float32[np.ndarray, " F"]
    sound: Float32[np.ndarray, " n"] | None


def open_image(
    data: bytes, mime: str, *, limits: Limits | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a picture, turned upright, on white where it is transparent.

    Raises:
        ValueError: the bytes are empty, truncated, no picture, or more pixels than the limit.
    """
    _refuse_empty(data, mime)
    most = (limits or Limits()).pixels
    if data[:2] == b"P6":
        return _open_ppm(data, most)
    with _opened(data, mime, most) as picture:
        try:
            return _upright(picture)
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"the {mime} picture is damaged or cut short: {error}") from None


def open_sound(
    data: bytes, mime: str, *, limits: Limits | None = None
) -> Float32[np.ndarray, " n"]:
    """Mono samples at 16 kHz, from -1 to 1; channels are averaged.

    Raises:
        ValueError: the bytes are empty, no sound that can be read, or longer than the limit.
    """
    _refuse_empty(data, mime)
    most = (limits or Limits()).seconds
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            rate, length = sound.samplerate, sound.frames / sound.samplerate
            if length > most:
                raise ValueError(f"the sound lasts {length:.0f} s; at most {most:.0f} s are read")
            samples = sound.read(dtype="float32", always_2d=True).mean(axis=1)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"the {mime} sound cannot be read: {error}") from None
    if not len(samples):
        raise ValueError(f"the {mime} sound holds no samples")
    if rate != RATE:
        samples = soxr.resample(samples, rate, RATE)
    return np.ascontiguousarray(samples, np.float32)


def open_video(data: bytes, mime: str, *, limits: Limits | None = None) -> Clip:
    """A clip's frames, their times and its sound; animated GIF, WebP and PNG are clips too.

    Raises:
        ValueError: the bytes are empty, no clip that can be read, or more than the limits; or the
            container needs the extra `video`, which is not installed.
    """
    _refuse_empty(data, mime)
    limits = limits or Limits()
    if mime == FRAMES:
        return _open_frames(data, limits)
    found = sniff(data)
    if found is not None and found.startswith("image/"):
        return _open_animation(data, found, limits)
    if found is None or not found.startswith("video/"):
        raise ValueError(f"the bytes called {mime} are no clip ({found or 'unknown'} content)")
    return _open_container(data, mime, limits)


def frames_media(
    frames: UInt8[np.ndarray, "F h w 3"],
    times: Float32[np.ndarray, " F"],
    sound: Float32[np.ndarray, " n"] | None = None,
) -> Media:
    """A clip of given frames, times in seconds and 16 kHz sound, stored without loss."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for i, frame in enumerate(frames):
            archive.writestr(_entry(f"{i:05d}.ppm"), ppm(frame))
        archive.writestr(_entry("times.json"), json.dumps([float(t) for t in times]))
        if sound is not None:
            archive.writestr(_entry("sound.wav"), wav(sound))
    return Media(FRAMES, out.getvalue())


def sniff(data: bytes) -> str | None:
    """The mime that the first bytes tell, or None."""
    for pattern, mime in MAGIC:
        if re.match(pattern, data[:32], re.DOTALL):
            return mime
    return None


def media_from_file(path: Path | str) -> Media:
    """A medium from a file, or a clip from a folder of pictures in the order of their names.

    An animated GIF is a clip. A folder's frames are a second apart unless it has a times.json.

    Raises:
        ValueError: the ending is unknown, or it contradicts the content.
        FileNotFoundError: there is no such file.
    """
    place = Path(path)
    return _folder(place) if place.is_dir() else named_media(str(path), read_bytes(path))


def named_media(path: str, data: bytes) -> Media:
    """A medium from bytes and the name that they had; an animated GIF is a clip.

    Raises:
        ValueError: the ending is unknown, or it contradicts the content.
    """
    named, found = MIMES.get(Path(path).suffix.lower()), sniff(data)
    if named is None and found is None:
        raise ValueError(f"{path}: unknown kind of file; known endings are {' '.join(MIMES)}")
    if not data:
        raise ValueError(f"{path} is empty")
    if found is None:
        raise ValueError(f"{path} is called {named} but its content is not")
    if found == "image/gif" and _frame_count(data) > 1:
        return Media("video/gif", data)
    if named is not None and named.split("/")[0] == found.split("/")[0]:
        return Media(named if named == "video/webm" else found, data)
    return Media(found, data)


def ppm(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """The pixels as a binary PPM: no compression, so the fastest to open again."""
    return b"P6 %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


def png(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """The pixels as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def wav(samples: Float32[np.ndarray, " n"]) -> bytes:
    """16 kHz samples as a 16-bit WAV."""
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
    return out.getvalue()


def _refuse_empty(data: bytes, mime: str) -> None:
    if not data:
        raise ValueError(f"the {mime} medium is empty (0 bytes)")


def _open_ppm(data: bytes, most: int) -> UInt8[np.ndarray, "h w 3"]:
    head = re.match(rb"P6\s+(\d{1,9})\s+(\d{1,9})\s+255\s", data)
    if head is None:
        raise ValueError("the PPM picture has a broken header; only 8-bit P6 is read")
    width, height = int(head[1]), int(head[2])
    _refuse_bomb(width, height, most)
    body = data[head.end() : head.end() + 3 * width * height]
    if len(body) < 3 * width * height or not body:
        raise ValueError(f"the PPM picture is cut short: {width} by {height} need more bytes")
    return np.frombuffer(body, np.uint8).reshape(height, width, 3)


def _refuse_bomb(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise ValueError(
            f"the picture has {width} by {height} pixels; at most {most:,} pixels are opened"
        )


def _opened(data: bytes, mime: str, most: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise ValueError(f"the {mime} picture is too large; at most {most:,} pixels") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"the bytes called {mime} are no picture that can be opened") from error
    _refuse_bomb(*picture.size, most)
    return picture


def _upright(picture: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        upright = Image.alpha_composite(white, layer)
    return np.asarray(upright.convert("RGB"))


def _open_animation(data: bytes, mime: str, limits: Limits) -> Clip:
    with _opened(data, mime, limits.pixels) as picture:
        frames, times, clock = [], [], 0.0
        try:
            for frame in ImageSequence.Iterator(picture):
                if len(frames) == limits.frames:
                    raise ValueError(f"the clip has more than {limits.frames} frames")
                times.append(clock)
                clock += float(frame.info.get("duration", 100)) / 1000
                frames.append(_upright(frame.copy()))
        except (OSError, SyntaxError, EOFError) as error:
            raise ValueError(f"the {mime} clip is damaged or cut short: {error}") from None
    return Clip(np.stack(frames), np.array(times, np.float32), None)


def _open_frames(data: bytes, limits: Limits) -> Clip:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = sorted(n for n in archive.namelist() if n.endswith((".ppm", ".png", ".jpg")))
            if not 1 <= len(names) <= limits.frames:
                raise ValueError(f"the clip has {len(names)} frames; 1 to {limits.frames} are read")
            too_big = 4 * limits.pixels
            if any(info.file_size > too_big for info in archive.infolist()):
                raise ValueError("a frame of the clip is larger than the limit on pixels")
            frames = [open_image(archive.read(n), MIMES[n[-4:]], limits=limits) for n in names]
            held = set(archive.namelist())
            times = json.loads(archive.read("times.json")) if "times.json" in held else None
            sound = archive.read("sound.wav") if "sound.wav" in held else None
    except (zipfile.BadZipFile, json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"the frames of the clip are damaged: {error}") from None
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError("the frames of the clip differ in size")
    clock = np.arange(len(frames)) if times is None else times
    if len(clock) != len(frames):
        raise ValueError(f"the clip has {len(frames)} frames but {len(clock)} times")
    samples = None if sound is None else open_sound(sound, "audio/wav", limits=limits)
    return Clip(np.stack(frames), np.asarray(clock, np.float32), samples)


def _open_container(data: bytes, mime: str, limits: Limits) -> Clip:
    try:
        import av
    except ImportError:
        raise ValueError(
            f"{mime} needs the extra `video`: install castor[video]; "
            "an animated GIF or a folder of frames works without it"
        ) from None
    try:
        with av.open(io.BytesIO(data)) as container:
            if not container.streams.video:
                raise ValueError(f"the {mime} file holds no pictures")
            stream = container.streams.video[0]
            _refuse_bomb(stream.width, stream.height, limits.pixels)
            pictures = list(_decoded(container.decode(stream), limits))
        with av.open(io.BytesIO(data)) as container:
            sound = _soundtrack(container, limits) if container.streams.audio else None
    except av.FFmpegError as error:
        raise ValueError(f"the {mime} clip cannot be read: {error}") from None
    if not pictures:
        raise ValueError(f"the {mime} clip holds no frame")
    times, frames = zip(*pictures, strict=True)
    return Clip(np.stack(frames), np.array(times, np.float32), sound)


def _decoded(stream: Iterator, limits: Limits) -> Iterator[tuple[float, np.ndarray]]:
    for count, frame in enumerate(stream):
        if count == limits.frames:
            raise ValueError(f"the clip has more than {limits.frames} frames")
        at = float(frame.time or 0.0)
        if at > limits.seconds:
            raise ValueError(f"the clip lasts more than {limits.seconds:.0f} s")
        yield at, frame.to_ndarray(format="rgb24")


def _soundtrack(container, limits: Limits) -> Float32[np.ndarray, " n"] | None:
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    chunks: Sequence = [
        chunk.to_ndarray()[0]
        for frame in container.decode(container.streams.audio[0])
        for chunk in resampler.resample(frame)
    ]
    chunks += [chunk.to_ndarray()[0] for chunk in resampler.resample(None)]
    if not chunks:
        return None
    return np.concatenate(chunks).astype(np.float32)[: int(limits.seconds * RATE)]


def _folder(place: Path) -> Media:
    names = sorted(p for p in place.iterdir() if MIMES.get(p.suffix.lower(), "")[:5] == "image")
    if not names:
        raise ValueError(f"{place} is a folder without pictures; a clip needs at least one")
    frames = [open_image(p.read_bytes(), MIMES[p.suffix.lower()]) for p in names]
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"the pictures in {place} differ in size, so they are no clip")
    stamps = place / "times.json"
    times = json.loads(stamps.read_text()) if stamps.exists() else range(len(frames))
    return frames_media(np.stack(frames), np.array(list(times), np.float32))


def _frame_count(data: bytes) -> int:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return getattr(picture, "n_frames", 1)
    except (OSError, SyntaxError, ValueError):
        return 1


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # the same bytes every time
