"""Content, batches, recipes, files and media decoding: standard library and NumPy only."""
