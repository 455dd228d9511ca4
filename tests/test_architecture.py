"""The shape of the repository: who may import whom, how long things may be, what may not appear.

An exception is named here with its reason, or it does not exist.
"""

import ast
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import castor

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "castor"

# Low to high. An area imports from lower lines and from itself; `|` parts siblings that never meet.
LAYERS = (
    "core",
    "models",
    "tokens",
    "data | checkpoint | fleet",
    "interop",
    "sample | train",
    "tune | evals | safety | device",
    "agent | serve",
    "recipes",
    "cli",
)
HEIGHT = {area.strip(): height for height, line in enumerate(LAYERS) for area in line.split("|")}

# A library that one part of the package alone may know.
ONLY = {
    "grain": "castor/data/",
    "datatrove": "castor/data/",
    "orbax": "castor/checkpoint/",
    "optax": "castor/train/",
    "sentencepiece": "castor/tokens/",
    "av": "castor/core/media.py",
    "soundfile": "castor/core/media.py",
    "soxr": "castor/core/media.py",
    "fsspec": "castor/core/files.py",
    "starlette": "castor/serve/",
    "uvicorn": "castor/serve/",
    "cryptography": "castor/serve/",
    "rich": "castor/cli/",
    "argparse": "castor/cli/",
    "shtab": "castor/cli/",
    "llguidance": "castor/sample/",
    "huggingface_hub": "castor/interop/",
    "gguf": "castor/interop/",
    "onnx": "castor/device/",
    "onnxruntime": "castor/device/",
}
NEVER = ("tensorflow", "torch", "flax", "tunix", "kauldron", "maxtext", "transformers")

FILE_LINES, FUNCTION_LINES, LINE_LENGTH = 400, 60, 100
LONG_FILES: dict[str, str] = {}  # path: why it may be longer
LONG_FUNCTIONS: dict[str, str] = {}  # path:name: why it may be longer


def files(*suffixes: str) -> list[Path]:
    """Every file that is or will be part of the repository, but nothing that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout.decode()
    paths = (REPOSITORY / name for name in listed.split("\0") if name)
    return [p for p in paths if p.is_file() and (not suffixes or p.suffix in suffixes)]


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def sources() -> list[Path]:
    return [p for p in files(".py") if p.is_relative_to(PACKAGE)]


def area_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def modules_imported_by(path: Path) -> Iterator[str]:
    """Full names, wherever in the file the import stands, relative ones resolved."""
    package = path.relative_to(REPOSITORY).parent.parts
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join((*above, *([node.module] if node.module else [])))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def test_every_area_has_its_place_in_the_layers() -> None:
    areas = {area_of(p) for p in sources()} - {"__init__"}
    assert areas <= HEIGHT.keys(), f"add {areas - HEIGHT.keys()} to LAYERS"


@pytest.mark.parametrize("path", [p for p in sources() if area_of(p) != "__init__"], ids=name_of)
def test_imports_point_down(path: Path) -> None:
    area = area_of(path)
    for module in modules_imported_by(path):
        top, *rest = module.split(".")
        if top != "castor" or rest in ([], ["__version__"]):
            continue
        other = castor.HOMES.get(rest[0], rest[0]).split(".")[0]  # a public name counts as its home
        assert other == area or HEIGHT[other] < HEIGHT[area], (
            f"{name_of(path)}: {area} may not import {module}"
        )


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_each_library_is_known_to_one_part_alone(path: Path) -> None:
    for module in modules_imported_by(path):
        library = module.split(".")[0]
        home = ONLY.get(library, "")
        assert name_of(path).startswith(home), f"only {home} may import {library}"
        assert library not in NEVER, f"{library} is measured against, not built on"


def test_tokens_and_what_it_stands_on_import_no_jax() -> None:
    reached = {p for p in sources() if area_of(p) in ("core", "tokens")}
    for path in reached:
        for module in modules_imported_by(path):
            assert module.split(".")[0] != "jax", f"{name_of(path)} imports {module}"
            assert not module.startswith("castor.models"), f"{name_of(path)} imports {module}"


def test_only_the_command_line_prints_or_reads_the_environment() -> None:
    for path in sources():
        if area_of(path) == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Name):
                assert node.id not in ("print", "input"), f"{name_of(path)}:{node.lineno}"
            elif isinstance(node, ast.Attribute):
                assert node.attr not in ("environ", "getenv"), f"{name_of(path)}:{node.lineno}"


@pytest.mark.parametrize("path", files(".py"), ids=name_of)
def test_files_functions_and_lines_stay_short(path: Path) -> None:
    name, lines = name_of(path), path.read_text().splitlines()
    assert len(lines) <= FILE_LINES or name in LONG_FILES, f"{name}: {len(lines)} lines"
    for number, line in enumerate(lines, start=1):
        assert len(line) <= LINE_LENGTH, f"{name}:{number} has {len(line)} characters"
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            known = f"{name}:{node.name}" in LONG_FUNCTIONS
            assert length <= FUNCTION_LINES or known, f"{name}:{node.name} has {length} lines"


def test_no_named_exception_outlives_its_need() -> None:
    for name in LONG_FILES:
        assert len((REPOSITORY / name).read_text().splitlines()) > FILE_LINES, name
    for name in LONG_FUNCTIONS:
        path, function = name.split(":")
        assert f"def {function}(" in (REPOSITORY / path).read_text(), name


def test_nothing_is_suppressed() -> None:
    forbidden = re.compile("# *no" + "qa|type: *" + "ignore|pyright: *" + "ignore|# *fmt: *off")
    for path in files(".py"):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            assert not forbidden.search(line), f"{name_of(path)}:{number}: {line.strip()}"


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = re.compile(r"(^|_)(utils?|helpers?|managers?|handlers?|base|misc|common)(_|$)")
    for path in files(".py"):
        assert not vague.search(path.stem), name_of(path)


def test_annotations_are_read_as_they_stand() -> None:
    for path in files(".py"):
        assert "from __future__ import " + "annotations" not in path.read_text(), name_of(path)


def test_no_file_names_a_registry_or_a_machine_path() -> None:
    addresses = ("py" + "pi.org", "python" + "hosted", "npm" + "js.", "/sim" + "ple")
    places = ("ro" + "ot", "ho" + "me", "wo" + "rk", "o" + "pt", "Us" + "ers")
    path = re.compile(rf"""(?:^|[\s"'=(`:]|file://)/(?:{"|".join(places)})/""")
    for file in files():
        data = file.read_bytes()
        if b"\0" in data[:4096]:
            continue
        text = data.decode("utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            assert not any(a in line for a in addresses), f"{name_of(file)}:{number}: {line}"
            assert not path.search(line), f"{name_of(file)}:{number}: {line}"


def test_no_tracked_file_is_large() -> None:
    for path in files():
        limit = 24 if path.is_relative_to(PACKAGE / "weights") else 1
        assert path.stat().st_size <= limit * 2**20, f"{name_of(path)} is over {limit} MiB"


def test_tests_are_at_least_two_fifths_of_all_lines() -> None:
    counts = {p: len(p.read_text().splitlines()) for p in files(".py")}
    tests = sum(n for p, n in counts.items() if p.is_relative_to(REPOSITORY / "tests"))
    share = tests / sum(counts.values())
    assert share >= 0.4, f"tests are {100 * share:.0f} % of {sum(counts.values())} lines"


def test_tests_mirror_the_package() -> None:
    for path in files(".py"):
        parts = path.relative_to(REPOSITORY).parts
        if parts[0] == "tests" and path.name.startswith("test_") and len(parts) > 2:
            home = PACKAGE.joinpath(*parts[1:-1])
            assert home.is_dir(), f"{name_of(path)} mirrors no folder of the package"


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    heavy = "{'jax', 'numpy', 'rich', 'matplotlib', 'optax', 'grain', 'PIL', 'sentencepiece'}"
    script = (
        "import sys; sys.argv = ['castor', '--help']\n"
        "try:\n"
        "    import castor.cli; castor.cli.main()\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        f"assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    times = []
    for _ in itertools.repeat(None, 5):  # the machine may be busy: the best of five counts
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "castor.cli", "--help"], check=True, capture_output=True
        )
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3, f"castor --help took {min(times):.2f} s"
