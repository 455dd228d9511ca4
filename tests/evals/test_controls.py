import numpy as np
import pytest

from castor.core import media
from castor.core.content import Document, Media, Text
from castor.evals.controls import blank, media_of, shuffled, with_media


def picture(shade: int) -> Media:
    pixels = np.full((4, 6, 3), shade, np.uint8)
    return Media("image/x-portable-pixmap", media.ppm(pixels))


def test_shuffling_gives_every_document_the_media_of_another():
    documents = [Document.of(picture(i), "what is it?") for i in range(9)]
    for before, after in zip(documents, shuffled(documents, seed=3), strict=True):
        assert media_of(before) != media_of(after)
        assert before.turns[0].parts[1] == after.turns[0].parts[1]


def test_shuffling_keeps_the_multiset_of_media():
    documents = [Document.of(picture(i), "what is it?") for i in range(9)]
    before = sorted(m.data for d in documents for m in media_of(d))
    after = sorted(m.data for d in shuffled(documents, seed=0) for m in media_of(d))
    assert before == after


def test_shuffling_one_document_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        shuffled([Document.of(picture(0))], seed=0)


def test_a_blank_picture_has_the_size_but_not_the_content():
    blanked = blank(Document.of("before", picture(7), "after"))
    (medium,) = media_of(blanked)
    pixels = media.open_image(medium.data, medium.mime)
    assert pixels.shape == (4, 6, 3)
    assert (pixels == 128).all()
    assert [p for p in blanked.turns[0].parts if isinstance(p, Text)] == [
        Text("before"),
        Text("after"),
    ]


def test_a_blank_sound_is_silence_of_the_same_length():
    sound = Media("audio/wav", media.wav(np.sin(np.arange(800)).astype(np.float32)))
    (medium,) = media_of(blank(Document.of(sound)))
    samples = media.open_sound(medium.data, medium.mime)
    assert samples.shape == (800,)
    assert not samples.any()


def test_a_blank_clip_keeps_its_frames_times_and_the_length_of_its_sound():
    frames = np.random.default_rng(0).integers(0, 255, (3, 4, 4, 3), dtype=np.uint8)
    times = np.array([0.0, 0.5, 1.0], np.float32)
    clip = media.frames_media(frames, times, np.ones(1600, np.float32) / 2)
    (medium,) = media_of(blank(Document.of(clip)))
    opened = media.open_video(medium.data, medium.mime)
    assert (opened.frames == 128).all() and opened.frames.shape == frames.shape
    np.testing.assert_allclose(opened.times, times)
    assert opened.sound is not None and len(opened.sound) == 1600 and not opened.sound.any()


def test_swapping_leaves_documents_without_media_alone():
    document = Document.of("only words")
    assert with_media(document, lambda i, m: m) == document
