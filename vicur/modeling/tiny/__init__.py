"""The tiny Qwen3-VL that ships with this project: a complete model, small enough for a laptop's CPU core."""
