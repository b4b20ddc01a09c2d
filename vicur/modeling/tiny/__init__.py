"""The tiny Qwen3-VL that this project ships: a real one in every part, small enough for a laptop's core."""
