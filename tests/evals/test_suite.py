"""What every benchmark promises, checked where it needs no downloaded data."""

from pathlib import Path

import pytest

from castor.core.content import Media
from castor.data.playground.scenes import for_eval
from castor.evals import protocols
from castor.evals.controls import media_of
from castor.evals.suite import GENERATED, SUITE

GENERATED_NAMES = ("shapes", "charts", "digits", "sounds", "speech", "clips", "sums", "draw")


@pytest.mark.parametrize("name", GENERATED_NAMES)
def test_generated_problems_are_the_same_every_time(name: str):
    first, again = (SUITE[name].problems(Path("nowhere")) for _ in range(2))
    assert first == again
    assert len(first) == GENERATED


@pytest.mark.parametrize("name", [n for n in GENERATED_NAMES if n != "draw"])
def test_problems_end_with_the_question_and_keep_the_answer_back(name: str):
    for problem in SUITE[name].problems(Path("nowhere"))[:50]:
        assert problem.answer
        assert [turn.role for turn in problem.prompt.turns] == ["user"]


@pytest.mark.parametrize("name", [n for n, b in SUITE.items() if b.controls])
def test_only_benchmarks_with_media_have_controls(name: str):
    if name in GENERATED_NAMES:
        assert all(media_of(p.prompt) for p in SUITE[name].problems(Path("nowhere"))[:20])
    else:
        assert SUITE[name].protocol in (
            protocols.answers,
            protocols.conclusions,
            protocols.tokens,
            protocols.transcripts,
        )


def test_scenes_to_draw_are_held_out_from_training():
    for problem in SUITE["draw"].problems(Path("nowhere")):
        assert all(for_eval(group) for group in problem.truth)
        assert not any(isinstance(p, Media) for t in problem.prompt.turns for p in t.parts)


@pytest.mark.parametrize("name", [n for n in SUITE if n not in GENERATED_NAMES])
def test_a_folder_without_the_data_is_refused_by_its_name(name: str, tmp_path: Path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        SUITE[name].problems(tmp_path)


def test_benchmarks_are_listed_under_their_own_names():
    assert all(name == benchmark.name and benchmark.what for name, benchmark in SUITE.items())
