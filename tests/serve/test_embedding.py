"""The prompts of what is embedded, by its task."""

import pytest

from castor.serve.embedding import TASKS, prompt_for

GEMMA = {"query": "task: search result | query: ", "document": "title: none | text: "}


def test_without_a_task_there_is_no_prompt() -> None:
    assert prompt_for("", prompts=GEMMA) == ""


def test_every_task_has_a_prompt_of_its_own() -> None:
    assert len({prompt_for(task, prompts=GEMMA) for task in TASKS}) == len(TASKS)


def test_the_models_own_prompt_comes_first() -> None:
    assert prompt_for("CLUSTERING", prompts=GEMMA | {"Clustering": "group: "}) == "group: "


def test_a_title_stands_in_the_place_of_none() -> None:
    told = prompt_for("RETRIEVAL_DOCUMENT", title="none | text: ", prompts=GEMMA)
    assert told == "title: none | text:  | text: "


@pytest.mark.parametrize(
    ("task", "title", "message"),
    [
        ("CLUSTERING", "", "taskType: this model does not have a prompt for CLUSTERING"),
        ("RETRIEVAL_DOCUMENT", "Fox", "does not have a prompt with a title for RETRIEVAL_DOCUMENT"),
        ("RETRIEVAL_QUERY", "Fox", "title: only taskType RETRIEVAL_DOCUMENT has one"),
    ],
)
def test_what_the_models_prompts_cannot_say_is_refused(task: str, title: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prompt_for(task, title=title, prompts={"query": "query: ", "document": "passage: "})
