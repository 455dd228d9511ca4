"""A scan finds nothing on sound devices, and names the one that is not."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.fleet import scan as scanning
from castor.fleet.known import filled
from castor.fleet.scan import Examined, Memory, Size, free_bytes, scan

PRODUCTS = {"int8 product", "bfloat16 product", "float16 product", "float32 product"}
CHECKS = PRODUCTS | {"elementwise", "memory", "copies"}


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that takes no time."""
    monkeypatch.setattr(scanning, "HOST", Size(32, 64, 3))
    monkeypatch.setattr(scanning, "BLOCK", 256)


def scanned(devices: int = 3, **changes: float) -> list[Examined]:
    return scan(jax.devices()[:devices], **{"seconds": 0, "memory": 1e-4, "seed": 4} | changes)


def wrong_in(found: list[Examined]) -> set[tuple[str, str]]:
    return {(one.device, one.check) for one in found if one.wrong}


def tampered(on: jax.Device, after: int = 0) -> Callable[[jax.Array], np.ndarray]:
    """What is fetched from a device, with bit 5 of word 7 turned, but not the first times."""
    times = 0

    def fetched(result: jax.Array) -> np.ndarray:
        nonlocal times
        words = np.array(result)
        if result.devices() == {on}:
            times += 1
            if times > after:
                words.reshape(-1)[7] ^= np.uint32(32)
        return words

    return fetched


def test_sound_devices_pass_every_check_in_one_round_at_least() -> None:
    found = scanned()
    assert {(one.device, one.check) for one in found} == {
        (f"cpu:{i}", check) for i in range(3) for check in CHECKS
    }
    assert wrong_in(found) == set()
    assert {one.rounds for one in found} == {1}
    assert all(one.bytes and one.held for one in found)


def test_rounds_go_on_until_the_time_is_over() -> None:
    scanned(1)  # compiles
    rounds = {one.rounds for one in scanned(1, seconds=0.6)}
    assert len(rounds) == 1
    assert rounds.pop() >= 2


def test_memory_stays_within_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "free_bytes", lambda device: 100_000)
    held = {one.held for one in scanned(seconds=0.3, memory=0.5) if one.check == "memory"}
    assert max(held) <= 50_000
    device = jax.devices()[0]
    patient = Memory({device: 12}, seed=0, filling_s=60)
    assert patient.look(device, 0) == (None, 2 * 12 * 1024, 12 * 1024)


def test_a_turned_bit_in_what_a_device_gives_back_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "fetched", tampered(jax.devices()[1]))
    found = scanned()
    named = {("cpu:1", check) for check in CHECKS - {"memory"}}
    assert wrong_in(found) == named | {("cpu:0", "copies")}  # by way of the wrong one
    for one in found:
        if one.wrong:
            assert (one.wrong.words, one.wrong.first, one.wrong.bits) == (1, 7, (5,))
            assert one.wrong.address == 28


def test_a_device_that_differs_from_its_own_first_time_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (first, *_) = jax.devices()
    monkeypatch.setattr(scanning, "fetched", tampered(first, after=1))
    assert ("cpu:0", "elementwise") in wrong_in(scanned(1))
    monkeypatch.setattr(scanning, "fetched", tampered(first, after=0))
    assert ("cpu:0", "elementwise") not in wrong_in(scanned(1))  # always wrong in the same way


def test_memory_that_holds_other_words_is_named_by_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fill(block: jax.Array, salt: jax.Array, *, words: int) -> jax.Array:
        held = filled(block, salt, words=words)
        return held.at[9].set(held[9] ^ jnp.uint32(1 << 30)) if int(block) == 1 else held

    monkeypatch.setattr(scanning, "filled", fill)
    device = jax.devices()[2]
    wrong = Memory({device: 3}, seed=0, filling_s=60).look(device, 0).wrong
    assert wrong is not None
    assert (wrong.first, wrong.address, wrong.bits) == (256 + 9, 4 * (256 + 9), (30,))
    assert wrong.words == 2  # as it was written, and with every bit turned


def test_what_a_scan_cannot_work_with_is_refused() -> None:
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"{share:g} is no share of memory"):
            scanned(memory=share)
    with pytest.raises(ValueError, match=r"1e-12 of the free memory of cpu:0 is 0 MiB"):
        scanned(memory=1e-12)


class Silent:
    """A device that does not tell how much memory it has."""

    platform, device_kind = "npu", "Silent"

    def memory_stats(self) -> None:
        return None

    def __str__(self) -> str:
        return "npu:0"


class Telling(Silent):
    def memory_stats(self) -> dict[str, int]:
        return {"bytes_limit": 100, "bytes_in_use": 30}


def test_free_memory_is_what_a_device_tells() -> None:
    assert free_bytes(Telling()) == 70
    with pytest.raises(ValueError, match="npu:0 does not tell how much memory it has"):
        free_bytes(Silent())
