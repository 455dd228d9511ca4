"""The public names: there, lazy, and what they claim to be."""

import subprocess
import sys
from importlib import import_module

import pytest

import castor


def test_every_public_name_is_the_one_in_its_module() -> None:
    assert sorted(castor.HOMES) == castor.__all__
    for name, home in castor.HOMES.items():
        assert getattr(castor, name) is getattr(import_module(f"castor.{home}"), name)
        assert name in dir(castor)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"castor has no 'Enigne'; it has \['Call', "):
        _ = castor.Enigne


def test_importing_castor_imports_nothing_else() -> None:
    script = "import sys, castor; print([m for m in sys.modules if m.startswith('castor.')])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
