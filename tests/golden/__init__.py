"""Golden outputs of the paper's published implementation, and a comparison with ours.

A golden model consists of three files with a common prefix: ``<prefix>_config.json``, ``<prefix>_weights.safetensors`` and
``<prefix>_io.safetensors``. Compare one with ``python -m tests.golden PREFIX``. ``data/sinktrack_a`` was computed
in float32 with eager attention, torch 2.13 and transformers 4.57: a left-padded batch of two prompts with an image each, 7 text layers,
the module after layers 0 and 5.
"""
