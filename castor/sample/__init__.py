"""Documents in, replies out: batches, caches and sampling behind a few verbs."""
