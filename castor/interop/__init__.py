"""Other people's formats: their weights in, ours out."""
