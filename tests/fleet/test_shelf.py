"""A slot is whole or not held, whatever happened to who wrote it; the other one stays."""

import errno
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.fleet.pieces import Piece
from castor.fleet.shelf import Damaged, Shelf
from tests.fleet.pieces import piece, vector

W = next(iter(vector(0)))


def steps(shelf: Shelf, owner: int = 0) -> list[int]:
    return list(shelf.held().get(owner, {}))


def inodes(folder: Path) -> set[tuple[str, int, int]]:
    kept = [(path, path.stat()) for path in folder.glob("*.[01]")]
    return {(path.name, status.st_ino, status.st_blocks) for path, status in kept}


def test_what_was_put_is_taken(memory: Path) -> None:
    shelf, array = Shelf(memory, "run"), np.arange(12, dtype=np.float32).reshape(3, 4)
    part = piece(shape=(3, 8), index=((0, 3), (4, 8)))
    shelf.put(2, 7, {part: array})
    assert shelf.held() == {2: {7: [part]}}
    np.testing.assert_array_equal(shelf.take(2, 7, part), array)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "int4", "bool", "uint32"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 0), (3, 2)])
def test_every_dtype_and_shape_comes_back_as_it_was(
    memory: Path, dtype: str, shape: tuple[int, ...]
) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    array = np.asarray(np.arange(np.prod(shape)).reshape(shape) % 2, np.float32).astype(kind)
    one = Piece("x", shape, dtype, tuple((0, size) for size in shape))
    shelf = Shelf(memory, "run")
    shelf.put(0, 1, {one: array})
    taken = shelf.take(0, 1, one)
    assert taken.dtype == kind
    np.testing.assert_array_equal(taken, array)


def test_an_array_that_does_not_lie_end_to_end_is_put_as_it_reads(memory: Path) -> None:
    array = np.arange(600, dtype=np.float32).reshape(20, 30).T[::2]
    one, odd = piece(shape=(15, 20), index=((0, 15), (0, 20))), Piece("a", (3,), "int8", ((0, 3),))
    shelf = Shelf(memory, "run")
    shelf.put(0, 1, {odd: np.ones(3, np.int8), one: array})  # what follows is not aligned
    np.testing.assert_array_equal(shelf.take(0, 1, one), array)


def test_a_source_may_be_made_when_its_turn_comes(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    shelf.put(0, 1, {W: lambda: vector(1)[W]})
    assert shelf.take(0, 1, W)[0] == 1


def test_the_two_newest_steps_of_each_owner_are_held(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    for step in range(5):
        shelf.put(0, step, vector(step))
    shelf.put(1, 2, vector(2))
    assert (steps(shelf, 0), steps(shelf, 1)) == ([3, 4], [2])
    assert [shelf.take(0, step, W)[-1] for step in (3, 4)] == [3, 4]


def test_a_steady_state_takes_no_new_memory(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    for step in range(2):
        shelf.put(0, step, vector(step, size=100_000))
    before = inodes(memory)
    for step in range(2, 6):
        shelf.put(0, step, vector(step, size=100_000))
    assert inodes(memory) == before


def test_files_that_were_removed_are_not_written_to(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    for step in (1, 2):
        shelf.put(0, step, vector(step))
    for file in memory.glob("0.?"):
        file.unlink()
    shelf.put(0, 3, vector(3))
    assert steps(Shelf(memory, "run")) == [3]


def test_a_state_of_another_size_takes_the_older_slot_and_gives_memory_back(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    for step, size in enumerate((100_000, 100_000, 10, 200_000, 20)):
        shelf.put(0, step, vector(step, size=size))
        assert shelf.take(0, step, next(iter(vector(0, size=size))))[-1] == step
    assert {path.stat().st_size // 400_000 for path in memory.glob("0.?")} == {2, 0}


def test_a_run_that_goes_back_writes_over_what_it_wrote_first(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    for step in (100, 105, 50, 55):
        shelf.put(0, step, vector(step))
    assert steps(shelf) == [50, 55]


def test_what_lies_beyond_a_step_is_forgotten(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    for step in (100, 105):
        shelf.put(0, step, vector(step))
    shelf.put(1, 105, vector(105))
    shelf.forget(100)
    assert {owner: [*owned] for owner, owned in Shelf(memory, "run").held().items()} == {0: [100]}


def test_an_owner_that_is_dropped_takes_no_memory(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    shelf.put(3, 1, vector(1))
    shelf.drop(3)
    assert shelf.held() == {}
    assert sum(path.stat().st_blocks for path in memory.glob("3.?")) == 0
    shelf.put(3, 2, vector(2))
    assert shelf.take(3, 2, W)[0] == 2


def test_another_process_sees_what_is_held(memory: Path) -> None:
    Shelf(memory, "run").put(0, 4, vector(4))
    look = (
        "import sys; from pathlib import Path; from castor.fleet.shelf import Shelf\n"
        "shelf = Shelf(Path(sys.argv[1]), 'run')\n"
        "[piece] = shelf.held()[0][4]\n"
        "assert (shelf.take(0, 4, piece) == 4).all()\n"
    )
    subprocess.run([sys.executable, "-c", look, str(memory)], check=True)


def test_a_shelf_that_is_cleared_leaves_no_folder(memory: Path) -> None:
    shelf = Shelf(memory / "0", "run")
    shelf.put(0, 4, vector(4))
    shelf.clear()
    assert list(memory.iterdir()) == []


@given(st.data())
def test_a_flipped_byte_is_never_read_and_never_touches_the_other_slot(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder), "run")
        two = vector(1, size=9) | vector(1, size=40, name="m")
        shelf.put(0, 1, two)
        shelf.put(0, 2, two)
        file = shelf.slot(0, 2).path
        whole = bytearray(file.read_bytes())
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        file.write_bytes(whole)
        after = Shelf(Path(folder), "run")
        for one in two if 2 in steps(after) else ():
            try:
                np.testing.assert_array_equal(after.take(0, 2, one), two[one])
            except Damaged:
                break
        assert all((after.take(0, 1, one) == 1).all() for one in two)


@given(st.data())
def test_a_file_that_was_cut_is_not_held(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder), "run")
        for step in (1, 2):
            shelf.put(0, step, vector(step, size=20))
        file = shelf.slot(0, 2).path
        whole = file.read_bytes()
        file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        assert steps(shelf) == steps(Shelf(Path(folder), "run")) == [1]


@given(st.integers(0, 3))
def test_a_source_that_fails_leaves_the_newer_slot(place: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder), "run")
        arrays = {name: vector(3, name=name) for name in "abcd"}
        pieces = {key: array for one in arrays.values() for key, array in one.items()}
        for step in (1, 2):
            shelf.put(0, step, pieces)

        def fail() -> np.ndarray:
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            shelf.put(0, 3, pieces | {list(pieces)[place]: fail})
        assert steps(shelf) == [2]
        shelf.put(0, 3, pieces)
        assert steps(shelf) == [2, 3]


def test_a_writer_that_is_killed_at_any_moment_leaves_a_whole_slot(memory: Path) -> None:
    write = (
        "import sys; from pathlib import Path; from castor.fleet.shelf import Shelf\n"
        "from tests.fleet.pieces import vector\n"
        "shelf, step = Shelf(Path(sys.argv[1]), 'run'), 0\n"
        "held = list(shelf.held().get(0, {}))\n"
        "step = max(held, default=0)\n"
        "while True:\n"
        "    step += 1\n"
        "    many = [vector(step, size=100 + 997 * i, name=f'w{i}') for i in range(40)]\n"
        "    shelf.put(0, step, {k: v for one in many for k, v in one.items()})\n"
        "    print(step, flush=True)\n"
    )
    for seed in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", write, str(memory)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(random.Random(seed).uniform(0, 0.02))
            writer.kill()
            said = [int(line) for line in writer.stdout if line.endswith("\n")]
        shelf = Shelf(memory, "run")
        assert max(steps(shelf)) >= max(said, default=1)
        for step in steps(shelf):
            for one in shelf.verify(0, step).sums:
                assert (shelf.take(0, step, one) == step).all()


def test_a_flipped_bit_names_its_piece_and_ends_the_step(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    shelf.put(3, 8, vector(8, name="layers/w"))
    flip(shelf, 3, 8)
    [one] = shelf.held()[3][8]
    with pytest.raises(Damaged, match=r"layers/w\[0:1000\] at step 8 of rank 3 does not match"):
        shelf.take(3, 8, one)
    with pytest.raises(ValueError, match=r"holds steps \[\] of rank 3, not 8"):
        shelf.take(3, 8, one)
    assert Shelf(memory, "run").held() == {}


def test_the_checksums_of_a_whole_step_are_verified_without_reading_it_out(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    for step in (1, 2):
        shelf.put(0, step, vector(step))
    assert shelf.verify(0, 1).step == 1
    flip(shelf, 0, 1)
    with pytest.raises(Damaged, match="holds that step no longer"):
        shelf.verify(0, 1)
    assert steps(shelf) == [2]


def flip(shelf: Shelf, owner: int, step: int) -> None:
    slot = shelf.slot(owner, step)
    with slot.path.open("rb+") as file:
        file.seek(slot.stop - 1)
        file.write(b"\xff")


def test_a_reader_that_is_overtaken_by_the_writer_is_told(memory: Path) -> None:
    shelf, reader = Shelf(memory, "run"), Shelf(memory, "run")
    for step in (1, 2):
        shelf.put(0, step, vector(step))
    seen = reader.slot(0, 1)
    shelf.put(0, 3, vector(3))
    reader.slot = lambda owner, step: seen  # as it was when the reader began
    with pytest.raises(ValueError, match="step 1 of rank 0 was overwritten while it was read"):
        reader.take(0, 1, W)
    assert steps(shelf) == [2, 3]


def test_two_writers_for_one_owner_do_not_mix(memory: Path) -> None:
    shelf = Shelf(memory, "run")

    def meanwhile() -> np.ndarray:
        with pytest.raises(ValueError, match="the slots of rank 0 in .* being written by another"):
            Shelf(memory, "run").put(0, 2, vector(2))
        Shelf(memory, "run").put(1, 2, vector(2))
        return vector(1)[W]

    shelf.put(0, 1, {W: meanwhile})
    assert shelf.held().keys() == {0, 1}
    assert shelf.take(0, 1, W)[0] == 1


def test_bytes_that_arrive_are_held_if_their_checksums_are_right(memory: Path) -> None:
    here, there = Shelf(memory / "a", "run"), Shelf(memory / "b", "run")
    here.put(0, 4, vector(4))
    slot = here.slot(0, 4)
    with slot.path.open("rb") as file:
        file.seek(slot.start)
        there.receive(0, 4, slot.sums, lambda place: receive_from(file, place))
    np.testing.assert_array_equal(there.take(0, 4, W), vector(4)[W])


def receive_from(file, place: memoryview) -> None:
    assert file.readinto(place) == len(place)


def test_bytes_that_arrive_damaged_are_not_held(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    with pytest.raises(ValueError, match=r"w\[0:1000\] at step 4 of rank 0 arrived damaged"):
        shelf.receive(0, 4, {W: 12345}, lambda place: None)
    assert shelf.held() == {}


def test_a_full_memory_file_system_is_one_sentence_and_changes_nothing(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    for step in (1, 2):
        shelf.put(0, step, vector(step))
    before, size = inodes(memory), 2**45
    huge = Piece("w", (size,), "int8", ((0, size),))
    with pytest.raises(OSError, match=rf"{memory} has no room for step 3 .* bytes, and") as error:
        shelf.put(0, 3, {huge: lambda: np.zeros(0)})
    assert error.value.errno == errno.ENOSPC
    assert (steps(shelf), inodes(memory)) == ([1, 2], before)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_memory_that_runs_out_while_it_is_taken_changes_nothing(
    memory: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    shelf = Shelf(memory, "run")
    for step in (1, 2):
        shelf.put(0, step, vector(step))

    def full(*_: object) -> None:
        raise OSError(number, "as the system says")

    monkeypatch.setattr("os.posix_fallocate", full)
    words = "has no room" if number == errno.ENOSPC else "as the system says"
    with pytest.raises(OSError, match=words):
        shelf.put(0, 3, vector(3, size=5000))
    assert (steps(shelf), shelf.take(0, 1, W)[0]) == ([1, 2], 1)


def test_a_folder_of_another_run_is_refused_with_both_names(memory: Path) -> None:
    Shelf(memory, "monday")
    with pytest.raises(ValueError, match=f"{memory} holds the run 'monday'; 'tuesday' needs"):
        Shelf(memory, "tuesday")


def test_a_slot_that_another_run_left_is_not_held(memory: Path) -> None:
    Shelf(memory, "monday").put(0, 1, vector(1))
    (memory / "run").write_text("tuesday")
    assert Shelf(memory, "tuesday").held() == {}


@pytest.mark.parametrize("array", [np.zeros(9, np.float32), np.zeros(1000, np.int32)])
def test_an_array_that_is_not_what_its_piece_says_is_refused(
    memory: Path, array: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=r"w\[0:1000\] is float32\[1000\]; it was given (flo|int)"):
        Shelf(memory, "run").put(0, 1, {W: array})


@pytest.mark.parametrize(("owner", "step"), [(-1, 0), (0, -1)])
def test_negative_ranks_and_steps_are_refused(memory: Path, owner: int, step: int) -> None:
    with pytest.raises(ValueError, match=f"0 or more; got rank {owner}, step {step}"):
        Shelf(memory, "run").put(owner, step, vector(0))


def test_a_piece_that_a_step_does_not_have_is_refused(memory: Path) -> None:
    shelf = Shelf(memory, "run")
    shelf.put(0, 1, vector(1))
    with pytest.raises(ValueError, match=r"m\[0:2\] is no piece of rank 0 at step 1"):
        shelf.take(0, 1, piece("m", shape=(2,), index=((0, 2),)))
