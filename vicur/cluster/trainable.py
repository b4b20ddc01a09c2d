"""What settings alone tell of a training on a run's nodes: whether it can take place there. Looked at before any node is asked for."""

from __future__ import annotations

from vicur.config.cluster import ClusterConfig
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.storage.s3 import is_s3


def require_trainable_on(config: TrainConfig, pool: ClusterConfig) -> None:
    """Refuses a training that the nodes of ``pool`` would refuse.

    Args:
        config: settings of the training.
        pool: the nodes, and the GPUs of each.

    Raises:
        VicurError: where the nodes lack the GPUs that the processes need, these cannot share the batch, or several would have a vLLM.
    """
    # Imports torch.
    from vicur.training.rollout.build import require_single_process
    from vicur.training.train import require_equal_shares
    from vicur.training.world import processes_per_machine

    count = processes_per_machine(config.distribution, pool.gpu_count)
    require_equal_shares(config, count * pool.nodes)
    require_single_process(config, count * pool.nodes)


def require_common_place(checkpoints: str) -> None:
    """Refuses several nodes without a place that all of them reach.

    Raises:
        VicurError: where checkpoints are not kept on S3.
    """
    if not is_s3(checkpoints):
        raise VicurError(
            f"several nodes need a place that all of them reach (given: {checkpoints or 'none'}).",
            where="checkpoints",
            remedy="Name an address on S3: s3://bucket/prefix.",
        )
