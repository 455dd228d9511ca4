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
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32, UInt8
from PIL import Image, ImageOps, ImageSequence

from castor.core.clip import (
    DAMAGES,
    Clip,
    Frames,
    Limits,
    Pixels,
    Refused,
    Samples,
    gathered,
    refuse_bomb,
    times_of,
)
from castor.core.content import Media
from castor.core.files import read_bytes
from castor.core.mime import FRAMES, MIMES, sniff

RATE = 16_000
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF")  # of pictures


def open_image(data: bytes, mime: str, *, limits: Limits | None = None) -> Pixels:
    """The pixels of a picture, turned upright, on white where it is transparent.

    Raises:
        ValueError: the bytes are empty, damaged, no picture, or more pixels than the limit.
    """
    _refuse_empty(data, mime)
    limits = limits or Limits()
    head = re.match(rb"P6\s+(\d{1,9})\s+(\d{1,9})\s+255\s", data)
    if head is not None:
        return _ppm_pixels(data, head.end(), int(head[2]), int(head[1]), limits)
    with _opened(data, mime, limits) as picture:
        try:
            return _upright(picture)
        except DAMAGES as error:
            raise ValueError(f"the {mime} picture is damaged or cut short: {error}") from None


def open_sound(data: bytes, mime: str, *, limits: Limits | None = None) -> Samples:
    """Mono samples at 16 kHz, from -1 to 1; channels are averaged. Also a video's sound.

    Raises:
        ValueError: the bytes are empty, no sound that can be read, or longer than the limit; or
            the format needs the extra `video`, which is not installed.
    """
    _refuse_empty(data, mime)
    limits = limits or Limits()
    found = sniff(data) or ""
    if found.startswith("video/") or found in ("audio/mp4", "audio/aac"):
        sound = _soundtrack(data, mime, limits, start=None)
        if sound is None:
            raise ValueError(f"the {mime} file holds no sound")
        return sound
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = file.samplerate
            samples = _averaged(file, most=limits.seconds)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"the {mime} sound cannot be read: {error}") from None
    if not len(samples):
        raise ValueError(f"the {mime} sound holds no samples")
    if not 1000 <= rate <= 1_000_000:
        raise ValueError(f"the {mime} sound has {rate} samples a second; 1,000 to 1,000,000 go")
    if rate != RATE:
        samples = soxr.resample(samples, rate, RATE)
    return _bounded(samples)


def open_video(data: bytes, mime: str, *, limits: Limits | None = None) -> Clip:
    """A clip's frames, their times from 0 and its sound; animated GIF, WebP and PNG are clips too.

    Where all frames would not fit in memory every second, fourth, … one is kept.

    Raises:
        ValueError: the bytes are empty, no clip that can be read, or more than the limits; or the
            container needs the extra `video`, which is not installed.
    """
    _refuse_empty(data, mime)
    limits = limits or Limits()
    found = FRAMES if mime == FRAMES else sniff(data)
    if found == FRAMES:
        return _open_frames(data, limits)
    if found is not None and found.startswith("image/"):
        with _opened(data, mime, limits) as picture:
            return gathered(_animated(picture), None, f"the {mime} clip", limits)
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


def media_from_file(path: Path | str) -> Media:
    """A medium from a file, or a clip from a folder of pictures in the order of their names.

    An animated picture is a clip. A folder's frames are a second apart unless it has a times.json;
    a sound.wav in it is the clip's sound.

    Raises:
        ValueError: the ending is unknown, or it contradicts the content.
        FileNotFoundError: there is no such file.
    """
    place = Path(path)
    return _folder(place) if place.is_dir() else named_media(str(path), read_bytes(path))


def named_media(path: str, data: bytes) -> Media:
    """A medium from bytes and the name that they had; an animated picture is a clip.

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
    if found in ("image/gif", "image/webp", "image/png", "image/avif") and _moves(data):
        return Media(found.replace("image/", "video/"), data)
    return Media(named if named == "video/webm" else found, data)


def ppm(pixels: Pixels) -> bytes:
    """The pixels as a binary PPM: no compression, so the fastest to open again."""
    return b"P6 %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


def png(pixels: Pixels) -> bytes:
    """The pixels as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def wav(samples: Samples) -> bytes:
    """16 kHz samples as a 16-bit WAV."""
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        levels = (samples * 32768).round().clip(-32768, 32767)  # so that reading undoes it exactly
        sound.writeframes(levels.astype("<i2").tobytes())
    return out.getvalue()


def _refuse_empty(data: bytes, mime: str) -> None:
    if not data:
        raise ValueError(f"the {mime} medium is empty (0 bytes)")


def _ppm_pixels(data: bytes, start: int, height: int, width: int, limits: Limits) -> Pixels:
    refuse_bomb(height, width, limits)
    size = 3 * height * width
    if not 0 < size <= len(data) - start:
        raise ValueError(f"the PPM picture is cut short: {width} by {height} pixels were promised")
    return np.frombuffer(data, np.uint8, size, start).reshape(height, width, 3)


def _opened(data: bytes, mime: str, limits: Limits) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit is checked below
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"the {mime} picture is too large: {error}") from None
    except DAMAGES:
        found = sniff(data) or "unknown content"
        why = "damaged or cut short" if found.startswith("image/") else found
        kinds = sorted({m for m in MIMES.values() if m.startswith("image/")})
        raise ValueError(
            f"the bytes called {mime} are no picture that can be opened ({why}); "
            f"those of {', '.join(kinds)} can"
        ) from None
    refuse_bomb(picture.height, picture.width, limits)
    return picture


def _upright(picture: Image.Image) -> Pixels:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata is no reason to refuse a picture
        picture.load()
        turned = ImageOps.exif_transpose(picture)
        if turned.mode[0] in "IF":  # 16 bits, or more: the brightest value is white
            levels = np.asarray(turned).astype(np.float32)
            most = 65535 if turned.mode[0] == "I" else max(float(levels.max()), 1e-9)
            turned = Image.fromarray((levels.clip(0, most) * (255 / most)).round().astype(np.uint8))
        if turned.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in turned.info:
            layer = turned.convert("RGBA")
            turned = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        return np.asarray(turned.convert("RGB"))


def _averaged(file: soundfile.SoundFile, *, most: float) -> Samples:
    """The mean of the channels, read in parts: the header may promise more than there is."""
    parts: list[Samples] = []
    room = int(most * file.samplerate) + 1
    while room > 0:
        part = file.read(min(room, 1 << 16), dtype="float32", always_2d=True)
        if not len(part):
            return np.concatenate(parts) if parts else np.zeros(0, np.float32)
        parts.append(part.mean(axis=1))
        room -= len(part)
    raise Refused(f"the sound lasts more than {most:g} s")


def _bounded(samples: Samples) -> Samples:
    return np.clip(np.nan_to_num(samples, posinf=1, neginf=-1), -1, 1).astype(np.float32)


def _animated(picture: Image.Image) -> Frames:
    clock = 0.0
    try:
        for frame in ImageSequence.Iterator(picture):
            frame.load()
            yield clock, partial(_upright, frame)
            shown = float(frame.info.get("duration", 0)) / 1000
            clock += shown if shown > 0.01 else 0.1  # as browsers do
    except Image.DecompressionBombError as error:
        raise Refused(f"a frame of the clip is too large: {error}") from None


def _open_frames(data: bytes, limits: Limits) -> Clip:
    what = "the clip of frames"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = set(archive.namelist())
            if max((info.file_size for info in archive.infolist()), default=0) > 4 * limits.pixels:
                raise Refused(f"{what} holds a file of more than {4 * limits.pixels:,} bytes")
            names = sorted(name for name in files if name.endswith((".ppm", ".png", ".jpg")))
            stamps = archive.read("times.json") if "times.json" in files else None
            sound = None
            if "sound.wav" in files:
                sound = open_sound(archive.read("sound.wav"), "audio/wav", limits=limits)
            times = times_of(stamps, len(names), what)
            pictures = (partial(_frame, archive, name, limits) for name in names)
            return gathered(zip(times, pictures, strict=True), sound, what, limits)
    except Refused:
        raise
    except DAMAGES as error:
        raise ValueError(f"{what} is damaged: {error}") from None


def _frame(archive: zipfile.ZipFile, name: str, limits: Limits) -> Pixels:
    return open_image(archive.read(name), MIMES[Path(name).suffix], limits=limits)


def _folder(place: Path) -> Media:
    names = [p for p in place.iterdir() if MIMES.get(p.suffix.lower(), "").startswith("image/")]
    names.sort(key=lambda p: [int(s) if s.isdecimal() else s for s in re.split(r"(\d+)", p.name)])
    if not names:
        raise ValueError(f"{place} is a folder without pictures; a clip needs at least one")
    stamps, wave_file = place / "times.json", place / "sound.wav"
    what = f"the clip in {place}"
    sound = open_sound(wave_file.read_bytes(), "audio/wav") if wave_file.exists() else None
    times = times_of(stamps.read_bytes() if stamps.exists() else None, len(names), what)
    pictures = (partial(_picture, name) for name in names)
    return frames_media(*gathered(zip(times, pictures, strict=True), sound, what, Limits()))


def _picture(path: Path) -> Pixels:
    return open_image(path.read_bytes(), MIMES[path.suffix.lower()])


def _moves(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=("GIF", "WEBP", "PNG", "AVIF")) as picture:
            return getattr(picture, "n_frames", 1) > 1
    except (*DAMAGES, Image.DecompressionBombError):
        return False


def _av(mime: str) -> Any:
    try:
        import av
    except ImportError:
        raise ValueError(
            f"{mime} needs the extra `video`: install castor[video]; "
            "an animated GIF, a folder of frames and a WAV file work without it"
        ) from None
    return av


def _open_container(data: bytes, mime: str, limits: Limits) -> Clip:
    av, what = _av(mime), f"the {mime} clip"
    try:
        with av.open(io.BytesIO(data)) as container:
            stream = _decodable(container.streams.video)
            if stream is None:
                raise ValueError(f"{what} holds no pictures that can be decoded")
            refuse_bomb(stream.height, stream.width, limits)
            start = _start(stream)
            clip = gathered(_filmed(container, stream, start), None, what, limits)
    except (av.FFmpegError, UnicodeDecodeError) as error:
        raise ValueError(f"{what} cannot be read: {error}") from None
    return clip._replace(sound=_soundtrack(data, mime, limits, start=start))


def _decodable(streams: Any) -> Any:
    return next((s for s in streams if s.codec_context is not None), None)


def _start(stream: Any) -> float:
    return float((stream.start_time or 0) * stream.time_base)


def _filmed(container: Any, stream: Any, start: float) -> Frames:
    """Frames that keep the size of the first one, and whose times never go back."""
    last = 0.0
    for frame in container.decode(stream):
        last = max(last, (frame.time or start) - start)
        yield last, partial(_filmed_frame, frame, stream.height, stream.width)


def _filmed_frame(frame: Any, height: int, width: int) -> Pixels:
    pixels = frame.to_ndarray(format="rgb24", height=height, width=width)
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _soundtrack(data: bytes, mime: str, limits: Limits, *, start: float | None) -> Samples | None:
    """A container's sound, shifted so that it begins at `start`; None if it has none."""
    av, parts = _av(mime), [np.zeros(0, np.float32)]
    room = int(limits.seconds * RATE)
    try:
        with av.open(io.BytesIO(data)) as container:
            stream = _decodable(container.streams.audio)
            if stream is None:
                return None
            late = 0 if start is None else round((_start(stream) - start) * RATE)
            parts += [np.zeros(max(0, min(late, room)), np.float32)]
            resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
            for frame in chain(container.decode(stream), [None]):
                parts += [chunk.to_ndarray()[0] for chunk in resampler.resample(frame)]
                if sum(map(len, parts)) > room + RATE:
                    raise Refused(f"the sound lasts more than {limits.seconds:g} s")
    except (av.FFmpegError, UnicodeDecodeError) as error:
        raise ValueError(f"the sound of the {mime} file cannot be read: {error}") from None
    samples = _bounded(np.concatenate(parts)[max(0, -late) :])
    return samples if len(samples) else None


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # the same bytes every time
