"""Inputs of a plan."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from vicur.config.objective import OBJECTIVES
from vicur.config.recovery import CueRecoverySettings
from vicur.config.section import Section
from vicur.config.training import VALIDATION_BATCH


class Hardware(Section):
    """GPUs and how well they are used. The defaults describe an NVIDIA H100 SXM at conservative utilisation."""

    gpu_memory: float = Field(default=80.0, gt=0)
    """Memory of one GPU in GiB."""
    headroom: float = Field(default=0.1, ge=0, lt=1)
    """Share of the memory to leave free for the CUDA context, communication buffers, kernel workspaces and fragmentation."""
    peak_tflops: float = Field(default=989.0, gt=0)
    """Dense bfloat16 peak in TFLOPS. H100 and H200: 989; A100: 312."""
    float32_share: float = Field(default=0.07, gt=0, le=1)
    """float32 speed relative to bfloat16: 67 of 989 TFLOPS on an H100, since PyTorch does not use TF32 by default."""
    bandwidth: float = Field(default=3.35, gt=0)
    """Memory bandwidth in TB/s. H100 SXM: 3.35; H200: 4.8; A100 80 GB: 2.04."""
    interconnect: float = Field(default=0.3, gt=0)
    """Bandwidth between GPUs in one direction, in TB/s."""
    utilisation: float = Field(default=0.4, gt=0, le=1)
    """Share of ``peak_tflops`` that training, scoring and prefill reach."""
    bandwidth_utilisation: float = Field(default=0.6, gt=0, le=1)
    """Share of ``bandwidth`` that decoding and the optimizer reach."""
    decode_overhead_ms: float = Field(default=25.0, ge=0)
    """Minimum time of a decoding step in ms. Without compiled graphs, Python and kernel launches take longer than the memory traffic of a
    small model. This default is an estimate: measure your own."""
    calibrated_on: str = ""
    """The device that ``vicur gpu-check`` measured utilisation and decoding on; without it (empty), no times are shown."""

    @property
    def limit(self) -> int:
        """Bytes of a GPU that a run may use."""
        return int(self.gpu_memory * (1 - self.headroom) * 2**30)


class PlanInput(Section):
    """Inputs of a plan."""

    student: str
    """Backbone of the student: a published size ("8B"), ``tiny``, or a checkpoint folder."""
    recovery: CueRecoverySettings | None = None
    """Cue recovery module of the student, or none."""
    trained: Literal["full", "lora", "recovery"] = "full"
    """Trained weights of the backbone: all (``full``), LoRA adapters (``lora``) or none (``recovery``). Cue recovery is always trained."""
    lora_rank: int = Field(default=16, ge=1)
    """LoRA rank. The plan assumes an adapter on every linear layer of the decoder."""
    train_vision: bool = True
    """Train the vision tower too, or its adapters under ``lora``."""
    teacher: Literal["frozen", "ema", "adapter_off", "checkpoint", "none"] = "frozen"
    """Teacher: a frozen copy of the student's backbone, a moving average of the student (``ema``), the student without adapters and cue
    recovery (``adapter_off``), another checkpoint, or none (grpo, sft)."""
    teacher_model: str | None = None
    """Checkpoint of the teacher if ``teacher`` is ``checkpoint``, in the same form as ``student``."""

    steps: int = Field(ge=1)
    """Training steps."""
    batch_size: int = Field(ge=1)
    """Prompts per step, over all GPUs."""
    rollouts: int = Field(default=1, ge=1)
    """Rollouts per prompt."""
    updates: int = Field(default=1, ge=1)
    """Optimizer updates per step."""
    staleness: int = Field(default=0, ge=0, le=1)
    """Updates between the weights that sample a batch and those that train on it. With 1, servers sample during the updates."""
    examples: int | None = Field(default=None, ge=1)
    """Number of training examples. Without it, the plan does not show epochs."""
    objective: str = "k1"
    """Type of the training objective, which determines the memory of the loss and whether there are rollouts."""
    max_prompt_tokens: int = Field(ge=1)
    """Longest prompt in tokens, including visual tokens."""
    max_response_tokens: int = Field(ge=1)
    """Longest response in tokens."""
    mean_prompt_tokens: int | None = Field(default=None, ge=1)
    """Mean prompt length for the time estimate; half of the longest if not set. Memory is always planned for the longest."""
    mean_response_tokens: int | None = Field(default=None, ge=1)
    """Mean response length for the time estimate; half of the longest if not set. Memory is always planned for the longest."""
    image_tokens: int = Field(default=392, ge=0)
    """Visual tokens per prompt, at most ``max_prompt_tokens``: those of one image of ``data.pixels.max`` pixels if that is set, or of the
    largest video if ``data.video`` is. 392 corresponds to an image of 401,408 pixels, the largest in the paper's evaluation."""
    validate_every: int = Field(default=20, ge=1)
    """Steps between validations."""
    validation_examples: int = Field(default=300, ge=0)
    """Questions per validation."""

    gpus: int = Field(default=1, ge=1)
    """GPUs for the student."""
    teacher_gpus: int = Field(default=0, ge=0)
    """GPUs that hold only the teacher, as many as ``gpus``; 0 puts the teacher on the student's GPUs."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """Data parallelism: replicated on every GPU (``ddp``), or weights, gradients and optimizer state sharded over them (``fsdp``)."""
    mixed_precision: Literal["none", "bf16"] = "none"
    """``bf16`` computes in bfloat16 and keeps weights, gradients and optimizer state in float32; ``none`` computes in float32."""
    save_dtype: Literal["float32", "bfloat16", "stochastic"] | None = None
    """Type that the student is saved in: by default, float32 or with ``bf16`` the base's."""
    gradient_checkpointing: bool = False
    """Recompute the activations of each layer in the backward pass instead of saving them."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Rollouts that a GPU scores and trains on at once; its whole share of the batch if not set."""
    rollout_batch_size: int | None = Field(default=None, ge=1)
    """Responses that a GPU samples at once; its whole share of the batch if not set."""
    validation_batch_size: int | None = Field(default=None, ge=1)
    """Questions that a validation answers at once, at most; ``rollout_batch_size`` or 128 if not set."""
    evaluation_batch_size: int = Field(default=128, ge=1)
    """Questions that the evaluation answers at once, at most."""
    evaluation_prompt_tokens: int | None = Field(default=None, ge=1)
    """Longest prompt of the evaluation; ``max_prompt_tokens`` if not set."""
    evaluation_response_tokens: int = Field(default=4096, ge=1)
    """Longest response of the evaluation."""
    feature_cache: float = Field(default=1.0, ge=0)
    """Maximum size of the cache of image features of a frozen vision tower, in GB."""
    rollout_engine: Literal["process", "inside", "server"] = "process"
    """What samples rollouts and validation responses: the trained model (``process``), vLLM ``inside`` the training process, or a
    ``server`` on other GPUs."""
    teacher_engine: Literal["process", "inside", "server"] = "process"
    """What computes the teacher's scores."""
    rollout_cache_gb: float = Field(default=4.0, ge=0)
    """KV cache of vLLM inside the process for rollouts, in GB."""
    teacher_cache_gb: float = Field(default=4.0, ge=0)
    """KV cache of vLLM inside the process for the teacher, in GB."""
    rollout_tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that share an engine for rollouts, inside the process or of a server."""
    teacher_tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that share an engine for the teacher, inside the process or of a server."""
    rollout_servers: int = Field(default=0, ge=0)
    """Servers for rollouts that start with the training, each on ``rollout_tensor_parallel`` other GPUs; 0 if someone else
    runs them."""
    teacher_servers: int = Field(default=0, ge=0)
    """The same for the teacher."""
    rollout_sleeps: bool = True
    """Whether vLLM inside the process frees its memory between rollouts."""
    bucket_mb: int = Field(default=512, ge=1)
    """Largest bucket in which weights are gathered for vLLM, in MB."""
    device: Literal["cuda", "cpu"] = "cuda"
    """Devices of the run. On a CPU, validation and evaluation batches are as configured, and tiles are smaller."""

    hardware: Hardware = Hardware()
    """GPUs and their utilisation."""

    @field_validator("objective")
    @classmethod
    def _is_known(cls, objective: str) -> str:
        if objective not in OBJECTIVES:
            raise ValueError(f"must be one of {', '.join(OBJECTIVES)}")
        return objective

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.teacher == "checkpoint") != (self.teacher_model is not None):
            raise ValueError("teacher_model is required if teacher is 'checkpoint', and not allowed otherwise")
        if self.teacher == "adapter_off" and self.trained == "full":
            raise ValueError(
                "teacher 'adapter_off' requires a frozen backbone, but trained is 'full'. Set trained to 'lora' or 'recovery'"
            )
        if self.teacher_gpus and self.teacher not in ("frozen", "checkpoint"):
            raise ValueError(
                f"teacher_gpus is {self.teacher_gpus}, but teacher {self.teacher!r} has no separate weights. Set teacher_gpus to 0"
            )
        if self.teacher_gpus and self.teacher_engine != "process":
            raise ValueError(
                f"teacher_gpus is {self.teacher_gpus}, but the teacher runs in vLLM ({self.teacher_engine}). Set teacher_gpus to 0"
            )
        for part in ("rollout", "teacher"):
            servers, engine = getattr(self, f"{part}_servers"), getattr(self, f"{part}_engine")
            if servers and engine != "server":
                raise ValueError(
                    f"{part}_servers is {servers}, but {part}_engine is {engine!r}. Set {part}_engine to 'server', or {part}_servers to 0"
                )
        if self.teacher_gpus not in (0, self.gpus):
            raise ValueError(
                f"teacher_gpus is {self.teacher_gpus}, but every process needs one GPU for the student and one for the teacher. "
                f"Set teacher_gpus to {self.gpus} (as gpus), or to 0 to share the student's GPUs"
            )
        if self.trained == "recovery" and self.recovery is None:
            raise ValueError(
                "trained is 'recovery', but the method has no cue recovery. Choose a method with cue recovery"
            )
        for mean, most in (
            ("mean_prompt_tokens", "max_prompt_tokens"),
            ("mean_response_tokens", "max_response_tokens"),
        ):
            value = getattr(self, mean)
            if value is not None and value > getattr(self, most):
                raise ValueError(f"{mean} is {value}, which exceeds {most} ({getattr(self, most)})")
        return self

    @property
    def server_gpus(self) -> dict[str, int]:
        """GPUs of the servers that start with the training, by their part in it: ``rollout``, ``teacher``."""
        counts = {
            "rollout": self.rollout_servers * self.rollout_tensor_parallel,
            "teacher": self.teacher_servers * self.teacher_tensor_parallel,
        }
        return {part: count for part, count in counts.items() if count}

    @property
    def all_gpus(self) -> int:
        """GPUs of the training: those of the student, of the teacher and of servers."""
        return self.gpus + self.teacher_gpus + sum(self.server_gpus.values())

    @property
    def sequences(self) -> int:
        """Rollouts per step, over all GPUs."""
        return self.batch_size * self.rollouts

    @property
    def sequences_a_gpu(self) -> int:
        """Rollouts per step on the GPU that has the most."""
        return -(-self.sequences // self.gpus)

    @property
    def micro_batch(self) -> int:
        """Rollouts that a GPU trains on at once."""
        return min(self.micro_batch_size or self.sequences_a_gpu, self.sequences_a_gpu)

    @property
    def rollout_batch(self) -> int:
        """Prompts that a GPU generates responses for at once."""
        return min(self.rollout_batch_size or self.sequences_a_gpu, self.sequences_a_gpu)

    @property
    def validation_batch(self) -> int:
        """Questions that a GPU answers at once in a validation, at most."""
        return self.validation_batch_size or self.rollout_batch_size or VALIDATION_BATCH

    @property
    def visual_tokens(self) -> int:
        """Visual tokens per prompt."""
        return min(self.image_tokens, self.max_prompt_tokens)

    @property
    def whole_vocabulary(self) -> bool:
        """True if the objective compares distributions over the whole vocabulary."""
        return OBJECTIVES[self.objective].signal == "vocabulary"

    @property
    def on_policy(self) -> bool:
        """True if the student trains on its own responses."""
        return bool(OBJECTIVES[self.objective].reads)

    @property
    def samples_ahead(self) -> bool:
        """True if rollouts are sampled before the images of their step are encoded for its update."""
        return bool(self.staleness) and self.on_policy

    @property
    def overlaps(self) -> bool:
        """True if servers sample the next rollouts while the other phases of a step run."""
        return self.samples_ahead and self.rollout_engine == "server"

    @property
    def sharded(self) -> bool:
        return self.strategy == "fsdp" and self.gpus > 1
