"""Of a run whose devices are wrong, the replicas that they are part of are left out."""

from pathlib import Path

import pytest

from castor.fleet.quarantine import name, named, without

MESH = {"replica": 2, "fsdp": 4}


@pytest.mark.parametrize(
    ("mesh", "processes", "devices", "left"),
    [
        (MESH, 4, [3], (2, {"replica": 1, "fsdp": 4})),
        (MESH, 4, [4, 7], (2, {"replica": 1, "fsdp": 4})),
        (MESH, 8, [0], (4, {"replica": 1, "fsdp": 4})),
        ({"fsdp": 2, "replica": 4}, 4, [7, 0], (2, {"fsdp": 2, "replica": 2})),
        ({"replica": 3}, 3, [1], (2, {"replica": 2})),
        (MESH, 2, [6], (1, {"replica": 1, "fsdp": 4})),
    ],
)
def test_whole_replicas_are_left_out(
    mesh: dict[str, int], processes: int, devices: list[int], left: tuple[int, dict[str, int]]
) -> None:
    assert without(mesh, processes, devices) == left


def test_with_no_replica_left_there_is_nothing_to_go_on_with() -> None:
    with pytest.raises(
        ValueError, match=r"devices \[1, 6\] are part of every replica of replica=2"
    ):
        without(MESH, 4, [6, 1])


def test_processes_that_share_a_replica_out_otherwise_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of the 2 replicas .* have 4 devices, .* of 8 devices"):
        without(MESH, 1, [2])


def test_devices_are_named_once(tmp_path: Path) -> None:
    assert named(tmp_path) == []
    name(tmp_path, [5, 2])
    assert named(tmp_path) == [2, 5]
    assert named(tmp_path) == []
