"""Hosts, keepers, faults and the ledger of a run that outlives them: standard library and NumPy."""
