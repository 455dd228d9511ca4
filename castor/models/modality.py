"""Which signals a model reads: the one place that knows every kind, dispatching by mime.

`perceive` runs on the host and turns encoded bytes into pieces for `render`; `encode` runs on the
device and turns packed slots into states. Adding a kind means adding its file and naming it here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from castor.core.batch import Signal, Slots
from castor.core.content import Media
from castor.core.media import Limits, open_image, open_sound, open_video
from castor.models import audio, conformer, frames, image, patches, siglip, video, vit
from castor.models.audio import AudioEncoder, encode_audio, init_audio
from castor.models.conformer import ConformerEncoder, encode_conformer, init_conformer
from castor.models.frames import FramesEncoder, encode_frames, init_frames
from castor.models.image import ImageEncoder, encode_image, init_image
from castor.models.patches import PatchesEncoder, encode_patches, init_patches
from castor.models.siglip import SiglipEncoder, encode_siglip, init_siglip
from castor.models.signals import (
    AudioConfig,
    ConformerConfig,
    FramesConfig,
    ImageConfig,
    PatchesConfig,
    Pictures,
    SiglipConfig,
    Sounds,
    VitConfig,
)
from castor.models.sizes import ModelConfig
from castor.models.vit import VitEncoder, encode_vit, init_vit

PictureEncoder = ImageEncoder | SiglipEncoder | VitEncoder | PatchesEncoder
Encoder = PictureEncoder | AudioEncoder | ConformerEncoder | FramesEncoder
Augment = Callable[[str, np.ndarray], np.ndarray]  # ("image", pixels) or ("audio", samples)


class Reader(NamedTuple):
    """What reads signals as a config says."""

    cut: Callable[..., Signal]
    init: Callable[[Any, int, PRNGKeyArray], Any]
    encode: Callable[..., Float[Array, "B M D"]]


READERS: dict[type, Reader] = {
    ImageConfig: Reader(image.cut, init_image, encode_image),
    SiglipConfig: Reader(siglip.cut, init_siglip, encode_siglip),
    VitConfig: Reader(vit.cut, init_vit, encode_vit),
    PatchesConfig: Reader(patches.cut, init_patches, encode_patches),
    AudioConfig: Reader(audio.cut, init_audio, encode_audio),
    ConformerConfig: Reader(conformer.cut, init_conformer, encode_conformer),
    FramesConfig: Reader(frames.cut, init_frames, encode_frames),
}


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
        return [cut_picture(pixels, config=config.image, budget=budget)]
    if kind == "audio" and config.audio is not None:
        samples = changed("audio", open_sound(media.data, media.mime, limits=limits))
        return [cut_sound(samples, config=config.audio)]
    if kind == "video" and config.image is not None:
        return _clip(media, config, limits, budget, changed)
    readable = [name for name, part in (("image", config.image), ("audio", config.audio)) if part]
    raise ValueError(
        f"this model does not read {media.mime}; it reads "
        + (", ".join([*readable, *(["video"] if config.image else [])]) or "text only")
    )


def cut_picture(pixels: np.ndarray, *, config: Pictures, budget: int | None = None) -> Signal:
    """The slots of a picture, for the encoder of this config.

    Raises:
        ValueError: the budget is one that the encoder cannot keep to.
    """
    return READERS[type(config)].cut(pixels, config=config, budget=budget)


def cut_sound(samples: np.ndarray, *, config: Sounds) -> Signal:
    """The slots of a sound, for the encoder of this config."""
    return READERS[type(config)].cut(samples, config=config)


def init_encoders(config: ModelConfig, key: PRNGKeyArray) -> dict[str, Any]:
    """Fresh weights for every kind of signal that the config names."""
    found = {}
    for number, kind in enumerate(("image", "audio")):
        of = getattr(config, kind)
        if of is not None:
            found[kind] = READERS[type(of)].init(of, config.width, jax.random.fold_in(key, number))
    return found


def encode(encoder: Encoder, slots: Slots, *, config: ModelConfig) -> Float[Array, "B M D"]:
    """The states that fill the slots of one kind."""
    of = config.image if isinstance(encoder, PictureEncoder) else config.audio
    assert of is not None
    return READERS[type(of)].encode(encoder, slots, config=of)


def unseeing(blocks: Int[Array, "B T"], media: dict[str, Slots], *, config: ModelConfig) -> Array:
    """Block numbers without those of media whose slots do not see each other both ways."""
    rows = jnp.arange(blocks.shape[0])[:, None]
    for kind, slots in sorted(media.items()):
        if is_causal(kind, config):
            blocks = blocks.at[rows, slots.columns].set(0, mode="drop")
    return blocks


def is_causal(kind: str, config: ModelConfig) -> bool:
    """Whether slots of a kind see no more of what follows them than text does: Gemma 4's sounds."""
    return kind == "audio" and isinstance(config.audio, ConformerConfig | FramesConfig)


def _clip(
    media: Media, config: ModelConfig, limits: Limits, budget: int | None, changed: Augment
) -> list[str | Signal]:
    assert config.image is not None
    clip = open_video(media.data, media.mime, limits=limits)
    most = config.image.frame_slots if budget is None else budget
    pictures = [
        (
            float(clip.times[i]),
            cut_picture(changed("image", clip.frames[i]), config=config.image, budget=most),
        )
        for i in video.choose_frames(clip.times)
    ]
    if clip.sound is None or config.audio is None:
        return video.interleave(pictures, None)
    sound = cut_sound(changed("audio", clip.sound), config=config.audio)
    return video.interleave(pictures, sound)
