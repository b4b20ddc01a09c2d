"""MLflow's model registry: lineage, versions, the gate, promotion and rollback."""

from vicur.registry.promotion import Move, promote, rollback

__all__ = ["Move", "promote", "rollback"]
