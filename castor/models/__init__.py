"""Everything neural: pytrees of arrays that do not know where they live, and pure functions."""
