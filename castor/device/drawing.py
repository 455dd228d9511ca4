"""An ONNX graph as it is drawn node by node, its weights going straight into a file beside it.

Invariant: of a model's weights no more than one matrix is ever held in a second form.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"  # the domain of onnxruntime's own operators
OPSETS = {"": 23, MICROSOFT: 1}
IR = 11
PAGE = 4096  # weights begin where a page does, so that they can be mapped into memory
SMALL = 40  # bytes of constants that are told apart by what they hold
TYPES: dict[np.dtype[Any], int] = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.uint8): TensorProto.UINT8,
}
Dims = Sequence[int | str]


class Store:
    """A file of arrays; what was written under a name is there for every graph."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._places: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def put(self, name: str, array: np.ndarray) -> tuple[int, int]:
        """Where the array lies in the file: its first byte, and how many it has."""
        if name not in self._places:
            self._file.write(b"\0" * (-self._file.tell() % PAGE))
            self._places[name] = self._file.tell(), array.nbytes
            self._file.write(np.ascontiguousarray(array).data)
        return self._places[name]


class Drawing:
    """One graph. Values are strings: the names of what nodes compute."""

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self._store = store
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: dict[str, onnx.ValueInfoProto] = {}
        self._outputs: list[onnx.ValueInfoProto] = []

    def takes(self, name: str, dims: Dims, kind: Any = np.float32) -> str:
        """An input of the graph."""
        made = helper.make_tensor_value_info(name, TYPES[np.dtype(kind)], dims)
        return self._inputs.setdefault(name, made).name

    def gives(self, name: str, dims: Dims) -> None:
        """An output of the graph, of float32: a value that was named."""
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The first result of an operator."""
        return self.named("", op, *inputs, domain=domain, **attributes)

    def named(self, name: str, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The same, called by a name."""
        names = [name or f"{op}.{len(self._nodes)}"]
        return self.nodes(op, *inputs, names=names, domain=domain, **attributes)[0]

    def nodes(
        self, op: str, *inputs: str, names: Sequence[str], domain: str = "", **attributes: Any
    ) -> Sequence[str]:
        """The results of an operator, of these names; "" where one is not wanted."""
        name = f"{op}.{len(self._nodes)}"
        made = helper.make_node(op, inputs, names, name=name, domain=domain, **attributes)
        self._nodes.append(made)
        return names

    def number(self, value: Any, kind: Any = np.float32) -> str:
        """A small constant, inside the graph."""
        array = np.asarray(value, kind)
        name = f"constant.{len(self._constants)}"
        if array.nbytes <= SMALL:
            sides = "x".join(map(str, array.shape))
            name = f"{array.dtype}[{sides}].{array.tobytes().hex()}"
        self._constants.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def stored(self, name: str, array: np.ndarray) -> str:
        """A constant in the file. Graphs that share a name share its bytes."""
        start, length = self._store.put(name, array)
        tensor = TensorProto(name=name, data_type=TYPES[array.dtype], dims=array.shape)
        tensor.data_location = TensorProto.EXTERNAL
        where = {"location": self._store.path.name, "offset": start, "length": length}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        self._constants[name] = tensor
        return name

    def save(self, path: Path) -> None:
        """Write the graph; its weights lie in the store's file, which must stay beside it."""
        graph = helper.make_graph(
            self._nodes,
            self.name,
            list(self._inputs.values()),
            self._outputs,
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="castor")
        path.write_bytes(made.SerializeToString())
