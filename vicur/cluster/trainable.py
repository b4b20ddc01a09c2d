"""Check from the settings alone whether a training can run on the nodes of a run, before any node is allocated."""

from __future__ import annotations

from vicur.config.cluster import ClusterConfig
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.storage.s3 import is_s3


def require_trainable_on(config: TrainConfig, pool: ClusterConfig) -> None:
    """Refuse a training that would fail on the nodes of ``pool``.

    Raises:
        VicurError: if the nodes have too few GPUs for its processes, the processes cannot share the batch or engines of vLLM equally, or
            its servers cannot be roles of the job.
    """
    # Imports torch.
    from vicur.training.rollout.build import require_groups
    from vicur.training.train import require_equal_shares
    from vicur.training.world import processes_per_machine

    if config.server_devices and pool.launches_job and pool.jobs.runtime_kind != "TrainingRuntime":
        raise VicurError(
            "a job with servers gets a training runtime of its own, made from one in the namespace, but the runtime is one of the cluster.",
            where="cluster.jobs.runtime_kind",
            remedy="Set it to TrainingRuntime (k8s/base/training), or run the servers yourself and set training.rollout.placement to url.",
        )
    # In the step's own pod, servers share its GPUs.
    reserved = 0 if pool.launches_job else config.server_devices
    count = processes_per_machine(config.distribution, pool.gpu_count, reserved)
    require_equal_shares(config, count * pool.nodes)
    require_groups(config, count)


def require_common_place(checkpoints: str) -> None:
    """Raise :class:`VicurError` if checkpoints are not on S3, which all nodes reach."""
    if not is_s3(checkpoints):
        raise VicurError(
            f"a training that runs as a TrainJob needs checkpoints on S3, but checkpoints is {checkpoints!r}.",
            where="checkpoints",
            remedy="Set checkpoints to an S3 address (s3://bucket/prefix), or train in the step's own pod (cluster.nodes=1, "
            "cluster.jobs.always=false).",
        )
