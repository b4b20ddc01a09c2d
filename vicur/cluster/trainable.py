"""What settings alone tell of a training on a run's nodes: whether it can take place there. Looked at before any node is asked for."""

from __future__ import annotations

from vicur.config.pools import PoolsConfig
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.s3 import is_s3


def require_shares(config: TrainConfig, pool: PoolsConfig) -> None:
    """Refuses a training that the nodes of ``pool`` would refuse.

    Args:
        config: settings of the training.
        pool: the nodes, and the GPUs of each.

    Raises:
        VicurError: where the nodes lack the GPUs that the processes need, these cannot share the batch, or several would have a vLLM.
    """
    # Imports torch.
    from vicur.training.distill import require_equal_shares
    from vicur.training.rollout.build import require_alone

    each = 2 if config.distribution.teacher_devices == "separate" else 1
    processes = config.distribution.processes
    count = max(1, pool.gpu_count // each) if processes == "auto" else processes
    if pool.gpu_count and count * each > pool.gpu_count:
        raise VicurError(
            f"{count} processes need {count * each} GPUs, and each node has {pool.gpu_count}.",
            where="training.distribution.processes",
            remedy="Ask for fewer processes, for one a GPU with auto, or for more GPUs (cluster.gpu_count).",
        )
    require_equal_shares(config, count * pool.nodes)
    require_alone(config, count * pool.nodes)


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
