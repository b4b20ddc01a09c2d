"""Training objectives: pure functions over the scores of sampled responses, each with its equation and source.

Notation of the paper (arXiv 2606.05718): X is image and question, S the privilege, y a response that the student sampled, p_theta the
student's and p_T the teacher's distribution of the next token. Divergences are taken on the student's own prefixes y_<n.

Every loss is a sum over tokens. The weights of :func:`token_weights` make it the mean over responses of the mean over their tokens, those
of :func:`equal_token_weights` the mean over tokens.
"""

from vicur.training.objectives.reduction import equal_token_weights, token_weights, weighted_sum
from vicur.training.objectives.registry import (
    TokenScores,
    divergence,
    divergence_of,
    require_registered,
    token_loss,
    token_loss_of,
)
from vicur.training.objectives.sampled import (
    abs_loss,
    advantages,
    clipped_policy_loss,
    clipped_share,
    group_advantages,
    k1_loss,
    k2_loss,
    k3_loss,
    mse_loss,
    policy_gradient,
    truncated_ratios,
)
from vicur.training.objectives.vocabulary import (
    forward_kl,
    jsd,
    reverse_kl,
    topk_forward_kl,
)

__all__ = [
    "TokenScores",
    "abs_loss",
    "advantages",
    "clipped_policy_loss",
    "clipped_share",
    "divergence",
    "divergence_of",
    "equal_token_weights",
    "forward_kl",
    "group_advantages",
    "jsd",
    "k1_loss",
    "k2_loss",
    "k3_loss",
    "mse_loss",
    "policy_gradient",
    "require_registered",
    "reverse_kl",
    "token_loss",
    "token_loss_of",
    "token_weights",
    "topk_forward_kl",
    "truncated_ratios",
    "weighted_sum",
]

# Fails at import if a formula is missing. As a statement it also makes code_version count this package, with all formulas, as a whole.
require_registered()
