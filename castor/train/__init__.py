"""One loop for every objective: batches in, weights out, bit for bit the same each time."""
