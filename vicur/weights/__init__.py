"""Base weights: fetched once from where they are published, verified, and installed where every step can read them."""

from vicur.weights.install import Installed, install
from vicur.weights.record import RECORD, Record, check
from vicur.weights.sources import ModelSource, model_source

__all__ = ["RECORD", "Installed", "ModelSource", "Record", "check", "install", "model_source"]
