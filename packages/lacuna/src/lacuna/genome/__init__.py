"""Synthetic genomes of known law: what the task `segmentation` is made of.

`law` says what a law is, `presets` which there are, `draw` draws sequences from one, `files` writes
and reads them. numpy only, so that a container which knows the law can compute with it.
"""
