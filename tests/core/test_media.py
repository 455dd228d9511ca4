"""Pictures and sound: what comes out, and one sentence for everything that does not go."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from castor.core.clip import Limits
from castor.core.media import open_image, open_sound, png, ppm, wav
from castor.core.mime import MIMES, sniff

RED = np.full((4, 6, 3), (255, 0, 0), np.uint8)
TONE = (0.5 * np.sin(np.arange(1600) * 2 * np.pi * 440 / 16_000)).astype(np.float32)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def sound_file(samples: np.ndarray, rate: int, kind: str, **options: str) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind, **options)
    return out.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("write", [png, ppm])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 17)])
def test_a_written_picture_opens_as_it_was(
    write: Callable[[np.ndarray], bytes], shape: tuple[int, int]
) -> None:
    pixels = noise(*shape)
    np.testing.assert_array_equal(open_image(write(pixels), "image/png"), pixels)


def test_the_fast_path_for_ppm_agrees_with_pillow() -> None:
    pixels = noise(7, 9)
    with_comment = b"P6 # as some programs write it\n9 7\n255\n" + pixels.tobytes()
    np.testing.assert_array_equal(open_image(with_comment, "image/x-portable-pixmap"), pixels)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG", "AVIF"])
def test_every_kind_of_picture_is_opened_and_known_by_its_bytes(kind: str) -> None:
    data = encoded(Image.new("RGB", (16, 12), (200, 30, 60)), kind)
    mime = sniff(data)
    assert mime == f"image/{kind.lower()}"
    pixels = open_image(data, mime)
    assert pixels.shape == (12, 16, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - (200, 30, 60)).max() < 8


def test_what_is_transparent_becomes_white() -> None:
    layer = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    layer.putpixel((1, 0), (0, 0, 0, 0))
    assert open_image(encoded(layer, "PNG"), "image/png").tolist() == [
        [[255, 0, 0], [255, 255, 255]]
    ]


def test_a_transparent_palette_becomes_white() -> None:
    layer = Image.new("P", (2, 1), 0)
    layer.putpalette([0, 0, 0, 0, 0, 255])
    layer.putpixel((1, 0), 1)
    data = encoded(layer, "PNG", transparency=0)
    assert open_image(data, "image/png").tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_a_picture_is_turned_upright() -> None:
    picture = Image.fromarray(noise(2, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter to the left
    turned = open_image(encoded(picture, "PNG", exif=exif), "image/png")
    np.testing.assert_array_equal(turned, np.rot90(np.asarray(picture), -1))


def test_sixteen_bits_are_brought_to_eight() -> None:
    grey = Image.fromarray(np.array([[0, 32768, 65535]], np.uint16))
    assert open_image(encoded(grey, "PNG"), "image/png")[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "F"])
def test_every_colour_mode_opens_as_three_channels(mode: str) -> None:
    data = encoded(Image.new(mode, (5, 4)), "TIFF")
    assert open_image(data, "image/tiff").shape == (4, 5, 3)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000)))
    with pytest.raises(ValueError, match="9000 by 9000 pixels; at most 40,000,000 are opened"):
        open_image(bomb, "image/png")
    huge = bomb.replace(struct.pack(">II", 9000, 9000), struct.pack(">II", 90_000, 90_000))
    with pytest.raises(ValueError, match="the image/png picture is too large"):
        open_image(huge[:29] + struct.pack(">I", zlib.crc32(huge[12:29])) + huge[33:], "image/png")


def test_a_ppm_that_promises_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match="cut short: 5000 by 5000 pixels were promised"):
        open_image(b"P6 5000 5000 255\nabc", "image/x-portable-pixmap")
    with pytest.raises(ValueError, match="at most 40,000,000"):
        open_image(b"P6 50000 50000 255\nabc", "image/x-portable-pixmap")


@pytest.mark.parametrize("header", [b"P6 -5 5 255\n", b"P6 0 0 255\n", b"P6 x", b"P6 5 5 70000\n"])
def test_a_ppm_with_a_wrong_size_is_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match="PPM picture is cut short|no picture"):
        open_image(header + bytes(75), "image/x-portable-pixmap")


def test_the_limit_on_pixels_can_be_set() -> None:
    with pytest.raises(ValueError, match="6 by 4 pixels; at most 23 are opened"):
        open_image(png(RED), "image/png", limits=Limits(pixels=23))
    assert open_image(png(RED), "image/png", limits=Limits(pixels=24)).shape == (4, 6, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_picture_cut_short_is_refused(kind: str) -> None:
    data = encoded(Image.fromarray(noise(40, 40)), kind)
    with pytest.raises(ValueError, match="damaged"):
        open_image(data[: len(data) // 2], f"image/{kind.lower()}")


@pytest.mark.parametrize("open_it", [open_image, open_sound])
def test_nothing_at_all_is_refused(open_it: Callable[[bytes, str], np.ndarray]) -> None:
    with pytest.raises(ValueError, match="the audio/wav medium is empty"):
        open_it(b"", "audio/wav")


def test_another_kind_of_file_is_no_picture() -> None:
    with pytest.raises(ValueError, match=r"called image/png are no picture .* \(audio/wav\)"):
        open_image(wav(TONE), "image/png")
    with pytest.raises(ValueError, match=r"\(unknown content\); .* image/jpeg, image/png"):
        open_image(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")


def test_a_program_that_draws_is_not_run() -> None:
    with pytest.raises(ValueError, match="are no picture"):
        open_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image/eps")


def test_written_sound_opens_as_it_was() -> None:
    samples = open_sound(wav(TONE), "audio/wav")
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, TONE, atol=1e-4)


def test_channels_are_averaged() -> None:
    stereo = np.stack([TONE, -TONE], 1)
    assert np.abs(open_sound(sound_file(stereo, 16_000, "WAV"), "audio/wav")).max() < 1e-4


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_sound_is_brought_to_16_khz(rate: int) -> None:
    tone = 0.5 * np.sin(np.arange(rate) * 2 * np.pi * 440 / rate)
    samples = open_sound(sound_file(tone, rate, "FLAC"), "audio/flac")
    assert abs(len(samples) - 16_000) <= 1
    expected = 0.5 * np.sin(np.arange(len(samples)) * 2 * np.pi * 440 / 16_000)
    np.testing.assert_allclose(samples[500:-500], expected[500:-500], atol=0.01)


@pytest.mark.parametrize(("kind", "mime"), [("OGG", "audio/ogg"), ("MP3", "audio/mpeg")])
def test_compressed_sound_is_read(kind: str, mime: str) -> None:
    data = sound_file(np.tile(TONE, 10), 16_000, kind)
    assert sniff(data) == mime
    samples = open_sound(data, mime)
    assert abs(len(samples) - 16_000) < 2000
    assert 0.2 < np.sqrt((samples[4000:12_000] ** 2).mean()) < 0.5


def test_samples_stay_between_minus_one_and_one() -> None:
    wild = np.array([np.nan, np.inf, -np.inf, 3.0, -3.0, 0.25], np.float32)
    data = sound_file(wild, 16_000, "WAV", subtype="FLOAT")
    assert open_sound(data, "audio/wav").tolist() == [0, 1, -1, 1, -1, 0.25]


def test_sound_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="the audio/wav sound holds no samples"):
        open_sound(wav(TONE[:0]), "audio/wav")


def test_sound_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="the sound lasts more than 0.05 s"):
        open_sound(wav(TONE), "audio/wav", limits=Limits(seconds=0.05))
    assert len(open_sound(wav(TONE), "audio/wav", limits=Limits(seconds=0.1))) == 1600


def test_a_strange_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="has 7 samples a second; 1,000 to 1,000,000 go"):
        open_sound(sound_file(TONE, 7, "WAV"), "audio/wav")


def test_text_called_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="the audio/wav sound cannot be read"):
        open_sound(b"this is no sound, it is text" * 9, "audio/wav")


def test_a_wav_whose_header_lies_gives_what_there_is_or_is_refused() -> None:
    data = bytearray(wav(TONE))
    for size in (0xFFFFFFFF, 0x80000000, 0, 10**9):
        data[40:44] = struct.pack("<I", size)
        try:
            assert len(open_sound(bytes(data), "audio/wav")) <= len(TONE)
        except ValueError as error:
            assert "audio/wav" in str(error)


def test_each_ending_has_a_mime_of_its_kind() -> None:
    assert {mime.split("/")[0] for mime in MIMES.values()} == {"image", "audio", "video"}
    assert all(ending == ending.lower() and ending[0] == "." for ending in MIMES)


@pytest.mark.parametrize("data", [b"", b"P", b"RIFF", b"hello world, this is text", bytes(40)])
def test_bytes_without_a_signature_are_unknown(data: bytes) -> None:
    assert sniff(data) is None


SPECIMENS = {
    kind: encoded(Image.fromarray(noise(12, 12)).convert(mode), kind)
    for kind, mode in (
        ("PNG", "P"),
        ("JPEG", "RGB"),
        ("GIF", "P"),
        ("TIFF", "RGB"),
        ("WEBP", "RGBA"),
    )
}
SOUNDS = {kind: sound_file(TONE, 8000, kind) for kind in ("WAV", "FLAC", "OGG", "MP3")}
damages = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=9)


def damaged(data: bytes, changes: list[tuple[int, int]], keep: float) -> bytes:
    broken = bytearray(data)
    for place, value in changes:
        broken[place % len(broken)] = value
    return bytes(broken[: max(1, int(keep * len(broken)))])


@given(st.sampled_from(sorted(SPECIMENS)), damages, st.sampled_from([1.0, 1.0, 0.9, 0.3]))
def test_a_damaged_picture_opens_or_is_refused_in_a_sentence(
    kind: str, changes: list[tuple[int, int]], keep: float
) -> None:
    try:
        pixels = open_image(damaged(SPECIMENS[kind], changes, keep), "image/x")
        assert pixels.ndim == 3 and pixels.shape[2] == 3
    except ValueError as error:
        assert str(error)


@given(st.sampled_from(sorted(SOUNDS)), damages, st.sampled_from([1.0, 1.0, 0.9, 0.3]))
def test_a_damaged_sound_opens_or_is_refused_in_a_sentence(
    kind: str, changes: list[tuple[int, int]], keep: float
) -> None:
    try:
        samples = open_sound(damaged(SOUNDS[kind], changes, keep), "audio/x")
        assert np.isfinite(samples).all() and np.abs(samples).max() <= 1
    except ValueError as error:
        assert str(error)
