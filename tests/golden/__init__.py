"""Golden outputs of the paper's published implementation, and the comparison of ours with them.

A golden model is three files with one prefix: ``<prefix>_config.json``, ``<prefix>_weights.safetensors``, ``<prefix>_io.safetensors``.
``python -m tests.golden PREFIX`` compares one. ``data/sinktrack_a`` was computed in float32 with eager attention, torch 2.13 and
transformers 4.57: a left-padded batch of two prompts with an image each, 7 text layers, the module after layers 0 and 5.
"""
