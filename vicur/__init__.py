"""ViCuR: on-policy distillation of vision-language students with visual cues."""

__version__ = "0.1.0"
