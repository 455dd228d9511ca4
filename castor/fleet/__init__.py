"""Hosts, keepers, faults and the ledger of a run that outlives them: standard library and NumPy.

The team of a run's processes and the scan of idle devices alone know JAX.
"""
