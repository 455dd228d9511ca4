"""What Castor calls of fsspec, which ships no types."""

from typing import Any

def open(urlpath: str, mode: str = "rb", **options: Any) -> Any: ...
