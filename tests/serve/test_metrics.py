"""The text format of metrics."""

from castor.serve.metrics import Level, Metrics, Spread, Tally


def test_a_tally_has_a_line_for_each_combination_of_labels() -> None:
    tally = Tally("t", "Things.", ("kind", "size"))
    tally.add(kind="a", size="1")
    tally.add(2, kind="a", size="1")
    tally.add(kind='quote " slash \\ line \n', size="")
    assert list(tally.lines()) == [
        "# HELP t Things.",
        "# TYPE t counter",
        't{kind="a",size="1"} 3',
        't{kind="quote \\" slash \\\\ line \\n",size=""} 1',
    ]


def test_a_tally_without_labels_starts_at_nothing() -> None:
    assert list(Tally("t", "Things.").lines())[-1] == "t 0"


def test_a_spread_counts_what_is_at_most_each_bound() -> None:
    spread = Spread("s", "Seconds.", (1.0, 2.5))
    for value in (0.5, 1.0, 2.0, 9.0):
        spread.observe(value)
    assert list(spread.lines())[2:] == [
        's_bucket{le="1"} 2',
        's_bucket{le="2.5"} 3',
        's_bucket{le="+Inf"} 4',
        "s_sum 12.500000",
        "s_count 4",
    ]


def test_a_level_is_read_when_it_is_asked_for() -> None:
    held = [1.0]
    level = Level("l", "Held.", lambda: len(held))
    held.append(2.0)
    assert list(level.lines())[-1] == "l 2"


def test_every_metric_of_the_server_is_explained_once() -> None:
    lines = Metrics().text().splitlines()
    kinds = [line for line in lines if line.startswith("# TYPE castor_")]
    assert len(kinds) == len(set(kinds)) == 8
    assert Metrics().text().endswith("\n")
