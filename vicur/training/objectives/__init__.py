"""Training objectives: pure functions over the scores of sampled responses, each with its equation and source.

Notation of the paper (arXiv 2606.05718): X is image and question, S the privilege, y a response that the student sampled, p_theta the
student's and p_T the teacher's distribution of the next token. Divergences are taken on the student's own prefixes y_<n.

Every loss is a sum over tokens. The weights of :func:`token_weights` make it the mean over responses of the mean over their tokens.
"""

from vicur.training.objectives.reduction import token_weights, weighted_sum
from vicur.training.objectives.sampled import (
    advantages,
    clipped_policy_loss,
    clipped_share,
    group_advantages,
    k1_loss,
    k3_loss,
    truncated_ratios,
)
from vicur.training.objectives.vocabulary import (
    Divergence,
    forward_kl,
    jsd,
    reverse_kl,
    topk_forward_kl,
)

__all__ = [
    "Divergence",
    "advantages",
    "clipped_policy_loss",
    "clipped_share",
    "forward_kl",
    "group_advantages",
    "jsd",
    "k1_loss",
    "k3_loss",
    "reverse_kl",
    "token_weights",
    "topk_forward_kl",
    "truncated_ratios",
    "weighted_sum",
]
