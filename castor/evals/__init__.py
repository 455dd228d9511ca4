"""Benchmarks, the protocols that obtain their numbers, and the reports that show them."""
