"""Which signals a model reads: the one place that knows every kind, dispatching by mime.

`perceive` runs on the host and turns encoded bytes into pieces for `render`; `encode` runs on the
device and turns packed slots into states. Adding a kind means adding its file and naming it here.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from castor.core.batch import Signal, Slots
from castor.core.content import Media
from castor.core.media import Limits, open_image, open_sound, open_video
from castor.models import audio, image, video
from castor.models.audio import AudioEncoder, encode_audio, init_audio
from castor.models.image import ImageEncoder, encode_image, init_image
from castor.models.sizes import ModelConfig

Encoder = ImageEncoder | AudioEncoder
Augment = Callable[[str, np.ndarray], np.ndarray]  # ("image", pixels) or ("audio", samples)


def perceive(
    media: Media,
    *,
    config: ModelConfig,
    limits: Limits | None = None,
    budget: int | None = None,
    augment: Augment | None = None,
) -> list[str | Signal]:
    """One medium as the model will read it: a signal or, for a clip, time stamps and signals.

    `budget` is the most slots that a picture may take; without it the config's own.

    Raises:
        ValueError: the model does not read this kind of media, or the bytes cannot be opened.
    """
    limits, changed = limits or Limits(), augment or (lambda kind, values: values)
    kind = media.mime.split("/")[0]
    if kind == "image" and config.image is not None:
        pixels = changed("image", open_image(media.data, media.mime, limits=limits))
        return [image.cut(pixels, config=config.image, budget=budget)]
    if kind == "audio" and config.audio is not None:
        samples = changed("audio", open_sound(media.data, media.mime, limits=limits))
        return [audio.cut(samples, config=config.audio)]
    if kind == "video" and config.image is not None:
        return _clip(media, config, limits, budget, changed)
    readable = [name for name, part in (("image", config.image), ("audio", config.audio)) if part]
    raise ValueError(
        f"this model does not read {media.mime}; it reads "
        + (", ".join([*readable, *(["video"] if config.image else [])]) or "text only")
    )


def init_encoders(config: ModelConfig, key: PRNGKeyArray) -> dict[str, Any]:
    """Fresh weights for every kind of signal that the config names."""
    encoders: dict[str, Any] = {}
    if config.image is not None:
        encoders["image"] = init_image(config.image, config.width, jax.random.fold_in(key, 0))
    if config.audio is not None:
        encoders["audio"] = init_audio(config.audio, config.width, jax.random.fold_in(key, 1))
    return encoders


def encode(encoder: Encoder, slots: Slots, *, config: ModelConfig) -> Float[Array, "B M D"]:
    """The states that fill the slots of one kind."""
    if isinstance(encoder, ImageEncoder):
        assert config.image is not None
        return encode_image(encoder, slots, config=config.image)
    assert config.audio is not None
    return encode_audio(encoder, slots, config=config.audio)


def _clip(
    media: Media, config: ModelConfig, limits: Limits, budget: int | None, changed: Augment
) -> list[str | Signal]:
    assert config.image is not None
    clip = open_video(media.data, media.mime, limits=limits)
    most = config.image.frame_slots if budget is None else budget
    frames = [
        (
            float(clip.times[i]),
            image.cut(changed("image", clip.frames[i]), config=config.image, budget=most),
        )
        for i in video.choose_frames(clip.times)
    ]
    if clip.sound is None or config.audio is None:
        return video.interleave(frames, None)
    sound = audio.cut(changed("audio", clip.sound), config=config.audio)
    return video.interleave(frames, sound)
