"""One product of a 4-bit model, [512, 1152] by [1152, 6912], on one thread: where a prompt's time
goes. onnxruntime's MatMulNBits and, if it was built, llama.cpp's Q4_0, beside a native loop.

    python benchmarks/product.py [--llama SOURCE BUILD] [--rounds 5] [--shape 512 1152 6912]

Milliseconds are of CPU time, the least of a few runs, each round in turns: what else a machine does
hardly shows. Prints one JSON object. `cc` compiles what is in `native/`.
"""

import argparse
import ctypes
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from beside import conditions, spread

from castor.device.drawing import Drawing, Store
from castor.device.weights import Packed, product

NATIVE = Path(__file__).parent / "native"
SEED, GROUP, RUNS = 0, 32, 4


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--llama", nargs=2, type=Path, metavar=("SOURCE", "BUILD"))
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--shape", nargs=3, type=int, default=(512, 1152, 6912), metavar="N")
    given = flags.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(compared(Path(scratch), given), indent=2))


def compared(scratch: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All sides in turns."""
    M, K, N = given.shape
    random = np.random.default_rng(SEED)
    codes = random.integers(0, 256, (N, K // GROUP, GROUP // 2), np.uint8)
    matrix = Packed(
        codes, random.uniform(1e-3, 3e-3, codes.shape[:2]).astype(np.float32), None, 4, K
    )
    x = random.standard_normal((M, K)).astype(np.float32)
    sides: dict[str, Callable[[], Any]] = {
        "onnxruntime": of_onnxruntime(matrix, x, scratch),
        "native": of_native(matrix, x, scratch),
    }
    results = {name: side() for name, side in sides.items()}
    rounds: list[dict[str, float]] = []
    llama = built_llama(given.llama[0], given.llama[1], scratch) if given.llama else None
    for _ in range(given.rounds):
        found = {name: least(side) for name, side in sides.items()}
        if llama is not None:
            command = [str(llama), *map(str, (M, K, N, RUNS))]
            told = subprocess.run(command, check=True, capture_output=True).stdout
            found["llama"] = json.loads(told)["ms"]
        rounds.append(found)
    wanted = x @ dense(matrix).T
    return {
        "shape": given.shape,
        "ms": {name: spread([one[name] for one in rounds], digits=2) for name in rounds[0]},
        "gigaflops": {
            name: round(2e-6 * M * K * N / min(one[name] for one in rounds)) for name in rounds[0]
        },
        "error": {name: float(np.std(y - wanted) / wanted.std()) for name, y in results.items()},
        "conditions": conditions("onnxruntime", "numpy", seed=SEED),
    }


def least(side: Callable[[], Any]) -> float:
    """CPU milliseconds of the fastest of some runs."""
    taken = []
    for _ in range(RUNS):
        begun = time.process_time()
        side()
        taken.append(1e3 * (time.process_time() - begun))
    return min(taken)


def dense(matrix: Packed) -> np.ndarray:
    """What the codes stand for, [N, K]."""
    codes = np.stack([matrix.codes & 15, matrix.codes >> 4], -1).astype(np.float32) - 8
    return (codes.reshape(*matrix.scales.shape, GROUP) * matrix.scales[..., None]).reshape(
        len(codes), -1
    )


def of_onnxruntime(matrix: Packed, x: np.ndarray, scratch: Path) -> Callable[[], np.ndarray]:
    """The product as the device's graphs hold it."""
    import onnxruntime

    with Store(scratch / "weights.bin") as store:
        drawing = Drawing("product", store)
        states = drawing.takes("x", ["M", x.shape[1]])
        product(drawing, states, matrix, name="w", result="y")
        drawing.gives("y", ["M", len(matrix.codes)])
        drawing.save(scratch / "product.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        scratch / "product.onnx", options, providers=["CPUExecutionProvider"]
    )
    return lambda: np.asarray(session.run(None, {"x": x})[0])


def of_native(matrix: Packed, x: np.ndarray, scratch: Path) -> Callable[[], np.ndarray]:
    """The same by `native/product.c`."""
    made = scratch / "product.so"
    command = ["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", str(made)]
    subprocess.run([*command, str(NATIVE / "product.c"), "-lm"], check=True)
    library, (M, K), N = ctypes.CDLL(str(made)), x.shape, len(matrix.codes)

    def at(array: np.ndarray) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    tiles, scales = np.empty_like(matrix.codes), np.empty_like(matrix.scales)
    y, sides = np.empty((M, N), np.float32), tuple(map(ctypes.c_long, (K, N)))
    library.pack(at(matrix.codes), at(matrix.scales), at(tiles), at(scales), *sides)

    def run() -> np.ndarray:
        failed = library.product(at(x), at(tiles), at(scales), at(y), ctypes.c_long(M), *sides)
        assert not failed, "no memory"
        return y

    return run


def built_llama(source: Path, build: Path, scratch: Path) -> Path:
    """`native/llama.c`, linked with llama.cpp's own libraries."""
    made = scratch / "llama"
    libraries = [str(build / "ggml/src" / f"libggml{part}.a") for part in ("", "-cpu", "-base")]
    command = ["cc", "-O2", f"-I{source / 'ggml/include'}", "-o", str(made)]
    command += [str(NATIVE / "llama.c"), "-Wl,--start-group", *libraries, "-Wl,--end-group"]
    command += ["-lstdc++", "-lm", "-lpthread", "-lgomp", "-ldl"]
    subprocess.run(command, check=True)
    return made


if __name__ == "__main__":
    main()
