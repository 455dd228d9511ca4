"""Files and generators to batches: sources, mixture, packing, loader."""
