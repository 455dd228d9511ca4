"""Settings: typed changes, JSON there and back, digests, and sentences for every mistake."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.core.recipe import digest, flat, from_json, override, pretty, to_json


@dataclass(frozen=True)
class Slow:
    peak_lr: float = 1e-3


@dataclass(frozen=True)
class Fast:
    peak_lr: float = 3e-3
    decay: float = 0.05


@dataclass(frozen=True)
class Named:
    size: int


@dataclass(frozen=True)
class Part:
    name: str
    share: float = 1.0


@dataclass(frozen=True)
class Run:
    note: str = ""
    optimizer: Slow | Fast = Slow()
    steps: int = 100
    rate: float = 0.5
    deep: bool = False
    limit: int | None = None
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    levels: tuple[int, ...] = (8, 5)
    pair: tuple[int, str] = (1, "a")
    parts: tuple[Part, ...] = (Part("books"), Part("emoji"))
    shares: dict[str, float] = field(default_factory=dict)
    start: Fast | None = None
    named: Named | Slow = Slow()
    kind_of_run: ClassVar[str] = "not a setting"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps={self.steps} is negative")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("steps=500", Run(steps=500)),
        ("steps=1_000", Run(steps=1000)),
        ("steps=2e3", Run(steps=2000)),
        ("rate=3e-3", Run(rate=3e-3)),
        ("rate=1", Run(rate=1.0)),
        ("note=a=b", Run(note="a=b")),
        ("note=", Run(note="")),
        ("deep=true", Run(deep=True)),
        ("limit=5", Run(limit=5)),
        ("precision=float32", Run(precision="float32")),
        ("levels=8,6,5", Run(levels=(8, 6, 5))),
        ("levels=(4,)", Run(levels=(4,))),
        ("levels=[7, 7]", Run(levels=(7, 7))),
        ("levels=", Run(levels=())),
        ("levels.1=9", Run(levels=(8, 9))),
        ("pair=2,b", Run(pair=(2, "b"))),
        ("optimizer=Fast", Run(optimizer=Fast())),
        ("optimizer.peak_lr=0.1", Run(optimizer=Slow(0.1))),
        ('optimizer={"kind": "Fast", "decay": 0}', Run(optimizer=Fast(decay=0.0))),
        ("parts.1.share=3", Run(parts=(Part("books"), Part("emoji", 3.0)))),
        ('parts=[{"name": "x"}]', Run(parts=(Part("x"),))),
        ("shares.books=0.25", Run(shares={"books": 0.25})),
        ("start=Fast", Run(start=Fast())),
        ('named={"kind": "Named", "size": 3}', Run(named=Named(3))),
    ],
)
def test_a_text_changes_one_field_by_its_type(change: str, expected: Run) -> None:
    assert override(Run(), change) == expected


def test_none_is_written_none() -> None:
    assert override(Run(limit=5), "limit=none") == Run()


def test_a_new_optimizer_takes_its_own_fields_next() -> None:
    assert override(override(Run(), "optimizer=Fast"), "optimizer.decay=0").optimizer == Fast(
        decay=0.0
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("optimiser=Fast", r"Run has no field 'optimiser'; it has \['note', 'optimizer'"),
        ("optimizer.speed=1", r"Slow has no field 'speed'; it has \['peak_lr'\]"),
        ("optimizer=Rapid", "Run.optimizer takes Slow or Fast; got 'Rapid'"),
        ("steps=ten", "Run.steps takes int; got 'ten'"),
        ("steps=1.5", "Run.steps takes int; got '1.5'"),
        ("rate=inf", "Run.rate takes float; got 'inf'"),
        ("deep=maybe", "Run.deep takes bool; got 'maybe'"),
        ("limit=few", "Run.limit takes int or none; got 'few'"),
        ("precision=int8", "Run.precision takes bfloat16 or float32; got 'int8'"),
        ("levels=1,x", "Run.levels takes int; got 'x'"),
        ("pair=1", "Run.pair takes 2 values; got '1'"),
        ("levels=[1", "Run.levels: .* is not JSON"),
        ('levels={"a": 1}', "Run.levels takes a list of int; got"),
        ("parts.2.share=1", "Run.parts has no member '2'; it has 0 to 1"),
        ("steps.more=1", "Run.steps is 100 and has no field 'more'"),
        ("shares.books.x=1", "Run.shares has no entry 'books'"),
        ("steps", "'steps' changes nothing; write FIELD=VALUE"),
        ("steps=-1", "steps=-1 is negative"),
        ("named=Named", r"Run.named: Named needs \['size'\], which have no default"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(change: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        override(Run(), change)


runs = st.builds(
    Run,
    note=st.text(),
    optimizer=st.builds(Slow) | st.builds(Fast, decay=st.floats(0, 1)),
    steps=st.integers(0, 10**9),
    limit=st.none() | st.integers(),
    levels=st.lists(st.integers(2, 9)).map(tuple),
    parts=st.lists(st.builds(Part, name=st.text(), share=st.floats(0, 9))).map(tuple),
    shares=st.dictionaries(st.text(), st.floats(0, 1)),
    start=st.none() | st.builds(Fast),
)


@given(runs)
def test_json_gives_back_what_it_was_given(run: Run) -> None:
    assert from_json(Run, to_json(run)) == run


@given(runs, runs)
def test_equal_settings_and_no_others_share_a_digest(one: Run, other: Run) -> None:
    assert (digest(one) == digest(other)) == (one == other)


def test_only_a_union_carries_its_kind() -> None:
    written = to_json(Run())
    assert written["optimizer"] == {"kind": "Slow", "peak_lr": 1e-3}
    assert written["parts"][0] == {"name": "books", "share": 1.0}


def test_missing_fields_have_their_defaults() -> None:
    assert from_json(Run, {"steps": 3}) == Run(steps=3)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"stepz": 3}, "Run has no field 'stepz'"),
        ({"steps": "3"}, "Run.steps takes int; got '3'"),
        ({"steps": True}, "Run.steps takes int; got True"),
        ({"optimizer": {"peak_lr": 1}}, r"Run.optimizer is one of \['Slow', 'Fast'\]; got None"),
        ({"parts": [{"share": 1}]}, r"Run.parts.0: Part needs \['name'\]"),
        ([], r"Run takes Run; got \[\]"),
    ],
)
def test_json_that_does_not_fit_is_refused(data: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        from_json(Run, data)


def test_flat_names_every_value_by_its_path() -> None:
    values = flat(replace(Run(), shares={"books": 0.5}))
    assert values["optimizer"] == "Slow"
    assert values["optimizer.peak_lr"] == 1e-3
    assert values["parts.1.name"] == "emoji"
    assert values["shares.books"] == 0.5
    assert values["levels"] == (8, 5)
    assert values["limit"] is None
    assert not any("kind_of_run" in path for path in values)


def test_pretty_indents_what_is_inside() -> None:
    text = pretty(Run())
    assert text.startswith("Run\n  note: ")
    assert "\n  optimizer: Slow\n    peak_lr: 0.001\n" in text
    assert "\n  parts:\n    0: Part\n      name: books\n" in text


def test_fields_that_are_left_out_change_no_digest_wherever_they_are() -> None:
    noted = Run(note="again", optimizer=Fast(decay=1.0))
    assert digest(noted, leave_out=("note", "decay")) == digest(
        Run(optimizer=Fast()), leave_out=("note", "decay")
    )
    assert digest(noted, leave_out=("note",)) != digest(Run(), leave_out=("note",))
    assert "optimizer.decay" not in flat(noted, leave_out=("decay",))
