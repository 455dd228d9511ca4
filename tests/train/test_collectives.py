"""Exchanges read from a program's text are those that the program was written with."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from castor.models.layout import by_device, in_use, mesh_of
from castor.train.collectives import Collective, collectives_in, partitioned

MESH = {"replica": 1, "fsdp": 4, "expert": 1, "tensor": 2, "sequence": 1}
ADD = """
%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}
"""


def one(kind: str, groups: str, shape: str = "f32[8,4]{1,0}") -> tuple[Collective, ...]:
    """What is found in a program of one exchange."""
    line = f"  ROOT %found = {shape} {kind}(%x), channel_id=1, {groups}, to_apply=%add"
    text = f"HloModule m\n{ADD}\nENTRY %main (x: f32[8,4]) -> f32[8,4] {{\n{line}\n}}\n"
    return collectives_in(text, MESH)


def test_what_a_loop_exchanges_counts_as_often_as_it_goes_round() -> None:
    def part(x: jax.Array) -> jax.Array:  # [2, 8] on each device
        def round_(total: jax.Array, _: None) -> tuple[jax.Array, None]:
            whole = jax.lax.all_gather(total, "fsdp", tiled=True)  # [8, 8]
            back = jax.lax.psum_scatter(whole, "fsdp", tiled=True)
            return back + jax.lax.psum(back, "tensor"), None

        moved = jax.lax.ppermute(x, "fsdp", [(i, (i + 1) % 4) for i in range(4)])
        turned = jax.lax.all_to_all(moved, "tensor", 1, 1, tiled=True)
        return jax.lax.scan(round_, turned, None, length=5)[0]

    mesh = mesh_of({"fsdp": 4, "tensor": 2})
    with in_use(mesh):
        run = by_device(part, takes=P("fsdp"), gives=P("fsdp"))
        x = jax.ShapeDtypeStruct((8, 8), jnp.float32, sharding=NamedSharding(mesh, P("fsdp")))
        text = partitioned(run, x).text
    assert set(collectives_in(text, MESH)) == {
        Collective("all-gather", ("fsdp",), 5, 5 * 8 * 8 * 4 * 3 // 4),
        Collective("reduce-scatter", ("fsdp",), 5, 5 * 2 * 8 * 4 * 3),
        Collective("all-reduce", ("tensor",), 5, 5 * 2 * 8 * 4),
        Collective("collective-permute", ("fsdp",), 1, 2 * 8 * 4),
        Collective("all-to-all", ("tensor",), 1, 2 * 8 * 4 // 2),
    }


@pytest.mark.parametrize(
    ("groups", "axes", "members"),
    [
        ("replica_groups=mesh['fsdp'=4,'tensor'=2] {'tensor'}", ("tensor",), 2),
        ("replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_0','axis_1'}", ("fsdp", "tensor"), 8),
        ("replica_groups=mesh['fsdp'=4,'tensor'=2] {'fsdp':(1)2,'tensor'}", ("fsdp", "tensor"), 4),
        ("replica_groups=mesh['fsdp'=4,'tensor'=2] {'fsdp':(2)2}", ("fsdp",), 2),
        ("replica_groups=[4,2]<=[8]", ("tensor",), 2),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", ("fsdp",), 4),
        ("replica_groups={{0,2,4,6},{1,3,5,7}}", ("fsdp",), 4),
        ("replica_groups={}", ("fsdp", "tensor"), 8),
    ],
)
def test_groups_are_named_by_the_axes_along_which_they_lie(
    groups: str, axes: tuple[str, ...], members: int
) -> None:
    (found,) = one("all-gather", groups)
    assert found == Collective("all-gather", axes, 1, 8 * 4 * 4 * (members - 1) // members)


def test_a_group_of_one_device_sends_nothing() -> None:
    assert one("all-reduce", "replica_groups=[8,1]<=[8]") == ()


def test_values_of_sixteen_bits_are_half_as_many_bytes() -> None:
    (wide,), (narrow,) = (
        one("all-gather", "replica_groups=[1,8]<=[8]", shape) for shape in ("f32[64]", "bf16[64]")
    )
    assert wide.sent_bytes == 2 * narrow.sent_bytes


def test_all_arrays_of_one_exchange_count() -> None:
    groups = "replica_groups=[1,8]<=[8]"
    (several,) = one("all-gather", groups, "(f32[64]{0}, /*index=1*/f32[64]{0})")
    (alone,) = one("all-gather", groups, "f32[128]")
    assert several == alone
