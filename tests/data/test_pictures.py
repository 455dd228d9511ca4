"""The picture book: codes by the bytes of a picture, made once."""

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Int32, UInt8

from castor.core.content import Media
from castor.core.media import png, ppm
from castor.data.pictures import PictureBook


def picture(value: int, side: int = 8) -> Media:
    return Media("image/x-portable-pixmap", ppm(np.full((side, side, 3), value, np.uint8)))


class Coder:
    """Codes that are the mean of each quarter of a picture; it remembers what it was asked."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, pixels: UInt8[np.ndarray, "n h w 3"]) -> Int32[np.ndarray, "n a b"]:
        self.shapes.append(pixels.shape)
        n, h, w, _ = pixels.shape
        quarters = pixels.reshape(n, 2, h // 2, 2, w // 2, 3).mean((2, 4, 5))
        return quarters.astype(np.int32)


def test_every_picture_has_its_own_codes() -> None:
    book = PictureBook.build([picture(v) for v in range(10)], Coder(), batch=4)
    for value in range(10):
        assert (book(picture(value)) == value).all()


def test_equal_pictures_are_coded_once_and_batches_have_one_shape() -> None:
    coder = Coder()
    book = PictureBook.build([picture(v % 5) for v in range(50)], coder, batch=4)
    assert len(book) == 5
    assert coder.shapes == [(4, 8, 8, 3)] * 2


def test_pictures_of_several_sizes_are_kept_apart(tmp_path: Path) -> None:
    coder = Coder()
    book = PictureBook.build([picture(1), picture(2, 16)], coder, batch=2)
    assert sorted(coder.shapes) == [(2, 8, 8, 3), (2, 16, 16, 3)]
    book.save(tmp_path / "book.npz")
    again = PictureBook.load(tmp_path / "book.npz")
    assert (again(picture(2, 16)) == 2).all() and len(again) == 2


def test_a_book_survives_its_file(tmp_path: Path) -> None:
    book = PictureBook.build([picture(v) for v in range(7)], Coder())
    book.save(tmp_path / "book.npz")
    again = PictureBook.load(tmp_path / "book.npz")
    assert all((again(picture(v)) == book(picture(v))).all() for v in range(7))


def test_an_empty_book_survives_its_file(tmp_path: Path) -> None:
    PictureBook({}).save(tmp_path / "book.npz")
    assert len(PictureBook.load(tmp_path / "book.npz")) == 0


def test_a_picture_that_is_not_in_the_book_is_refused() -> None:
    with pytest.raises(ValueError, match="has no codes: build the picture book"):
        PictureBook({})(Media("image/png", png(np.zeros((4, 4, 3), np.uint8))))


def test_a_file_that_is_no_book_is_refused(tmp_path: Path) -> None:
    (tmp_path / "book.npz").write_bytes(b"no book")
    with pytest.raises(ValueError, match="book.npz is no picture book"):
        PictureBook.load(tmp_path / "book.npz")
