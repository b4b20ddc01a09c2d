"""The step that puts an ablation together."""
