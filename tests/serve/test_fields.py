"""Values of JSON objects: what is read from which spelling, and every refusal."""

from typing import Any

import pytest

from castor.serve.fields import (
    as_mapping,
    choice,
    flag,
    listed,
    mapping,
    number,
    text,
    texts,
    whole,
)


@pytest.mark.parametrize(("given", "read"), [(1, 1.0), (0.5, 0.5), ("1.5", 1.5), (None, None)])
def test_a_number_may_be_written_as_a_string(given: Any, read: float | None) -> None:
    assert number({"t": given}, "t", at="c", low=0, high=2) == read


@pytest.mark.parametrize("given", [64, 64.0, "64"])
def test_a_whole_number_may_be_written_as_a_float_or_a_string(given: Any) -> None:
    assert whole({"k": given}, "k", at="c", low=0, high=100) == 64


@pytest.mark.parametrize("given", [2.1, -0.1, "3", "nan", 1e300])
def test_a_number_outside_its_range_is_refused_with_field_and_range(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^c\.t: .* is outside the range 0 to 2$"):
        number({"t": given}, "t", at="c", low=0, high=2)


@pytest.mark.parametrize("given", [True, "warm", [], {}])
def test_what_is_no_number_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"Invalid value at 'c\.t': a number is needed, not "):
        number({"t": given}, "t", at="c", low=0, high=2)


@pytest.mark.parametrize("given", [True, 1.5, "1.5", "1e3", "9" * 30, [1]])
def test_what_is_no_whole_number_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="'k': a whole number is needed"):
        whole({"k": given}, "k", at="", low=0, high=9)


def test_a_whole_number_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="k: 10 is outside the range 0 to 9"):
        whole({"k": 10}, "k", at="", low=0, high=9)


def test_absent_and_null_mean_the_same() -> None:
    for fields in ({}, {"x": None}):
        assert number(fields, "x", at="", low=0, high=1) is None
        assert whole(fields, "x", at="", low=0, high=1) is None
        assert flag(fields, "x", at="") is False
        assert text(fields, "x", at="") == ""
        assert texts(fields, "x", at="") == ()
        assert mapping(fields, "x", at="") == {}
        assert listed(fields, "x") == []


def test_a_single_thing_is_a_list_of_one() -> None:
    assert listed({"x": {"a": 1}}, "x") == [{"a": 1}]
    assert texts({"x": "stop"}, "x", at="") == ("stop",)


@pytest.mark.parametrize("given", ["AUTO", "auto", "MODE_AUTO", "mode_auto", 1])
def test_a_name_of_a_list_may_be_in_any_case_or_its_number(given: Any) -> None:
    assert choice(given, ("NONE", "AUTO"), at="m", prefix="MODE_") == "AUTO"


@pytest.mark.parametrize("given", ["SOMETIMES", 2, -1, True, ["AUTO"], 1.0])
def test_a_name_that_is_not_in_the_list_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="Invalid value at 'm': .* is not one of NONE, AUTO"):
        choice(given, ("NONE", "AUTO"), at="m")


@pytest.mark.parametrize(
    ("read", "given", "message"),
    [
        (flag, 1, "true or false is needed, not 1"),
        (text, 1, "a string is needed, not 1"),
        (texts, ["a", 1], "a list of strings is needed"),
        (mapping, [1], "an object is needed, not"),
        (text, ["x" * 99], "…"),
    ],
)
def test_other_kinds_of_values_are_refused(read: Any, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"Invalid value at 'c.x': .*{message}"):
        read({"x": given}, "x", at="c")


def test_an_object_that_stands_alone_is_named_by_its_place() -> None:
    with pytest.raises(ValueError, match=r"'tools\[0\]': an object is needed, not 'f'"):
        as_mapping("f", at="tools[0]")
