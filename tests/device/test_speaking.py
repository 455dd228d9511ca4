"""However a prompt is read, the same is said."""

import numpy as np
import pytest

from castor.core.content import Document
from castor.device.engine import DeviceEngine
from castor.device.speaking import KEEP, LEAST, Kept, Reading, Voice
from castor.sample.choose import Sampling
from castor.sample.engine import next_role
from castor.sample.reading import Prompt, prompt_of


def prompt_for(device: DeviceEngine, document: Document) -> Prompt:
    return prompt_of(device.tokens(document, open_turn=next_role(document)))


def read(device: DeviceEngine, prompt: Prompt, *, most: int) -> Reading:
    row = device.runtime.row(len(prompt))
    reading = Reading(device.runtime, prompt, row=row, pools=True)
    while reading.left:
        reading.advance(most)
    return reading


@pytest.mark.parametrize("most", [1, 7, 64])
def test_how_a_prompt_is_cut_changes_nothing(
    device: DeviceEngine, documents: list[Document], most: int
) -> None:
    for document in documents:
        prompt = prompt_for(device, document)
        cut, whole = (read(device, prompt, most=n) for n in (most, 256))
        np.testing.assert_allclose(cut.logits, whole.logits, atol=1e-4)
        np.testing.assert_allclose(cut.pooled, whole.pooled, atol=1e-3)


def test_wanted_logits_come_in_their_order_and_the_last_ones_after_them(
    device: DeviceEngine, documents: list[Document]
) -> None:
    prompt = prompt_for(device, documents[2])
    row = device.runtime.row(len(prompt))
    reading = Reading(device.runtime, prompt, row=row)
    first = reading.advance(8, wanted=np.array([2, 5, 9]))
    rest = reading.advance(200, wanted=np.array([2, 5, 9]))
    assert (first.shape[0], rest.shape[0]) == (2, 2)
    np.testing.assert_array_equal(rest[-1], reading.logits)


def test_a_kept_row_serves_what_begins_like_it_and_one_alone(
    device: DeviceEngine, documents: list[Document]
) -> None:
    prompt, other = (prompt_for(device, documents[i]) for i in (2, 4))
    kept, reading = Kept(), read(device, prompt, most=256)
    kept.keep(prompt.marks, reading.row)
    assert kept.taken(other) == (None, 0)
    row, shared = kept.taken(prompt)
    assert row is reading.row
    assert shared == len(prompt) - 1
    assert kept.taken(prompt) == (None, 0)


def test_of_many_rows_the_longest_unused_are_forgotten(
    device: DeviceEngine, documents: list[Document]
) -> None:
    prompt, kept = prompt_for(device, documents[2]), Kept()
    assert len(prompt) > LEAST
    first = read(device, prompt, most=256).row
    kept.keep(prompt.marks, first)
    for i in range(KEEP):
        kept.keep(prompt.marks + 1 + i, first)
    assert kept.taken(prompt) == (None, 0)


def test_a_seed_says_the_same_again_and_another_says_something_else(
    device: DeviceEngine, documents: list[Document]
) -> None:
    prompt = prompt_for(device, documents[0])

    def said(seed: int, number: int) -> list[int]:
        sampling = Sampling(temperature=1.0, seed=seed)
        reading = read(device, prompt, most=256)
        voice = Voice(
            device.runtime,
            (reading.row, reading.logits),
            law=device.law(sampling),
            sampling=sampling,
            number=number,
            most=12,
        )
        ids = []
        while not voice.over:
            ids.append(voice.say().id)
        return ids

    assert said(3, 1) == said(3, 1) == said(4, 0)
    assert said(3, 1) != said(3, 0)
