"""A generated corpus whose answers are known and which needs no download.

Worlds of training and of evaluation are disjoint: other seeds everywhere, other numbers and words
where there are few, and combinations that are never drawn in training (`scenes.for_eval`).
"""

from castor.data.playground.spec import Generated, Playground, Task

__all__ = ["Generated", "Playground", "Task"]
