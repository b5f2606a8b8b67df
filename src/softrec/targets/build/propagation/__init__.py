r"""DesoRec's interest sharing: labels spread among training examples that look alike.

Let x_u be the vector of example u (the user vector of a trained base model) and y_u its label.
Inside each cluster of examples

    w_uv     = softmax over v != u of (-|x_u - x_v|_2 / tau)     who resembles whom
    q^0_u    = e_{y_u}                                           one-hot labels
    q^{t+1}  = a w q^t + (1 - a) q^0                             `rounds` times

w is known by n x n numbers, q by n x L, where L counts the labels that occur in the cluster. The
fixed point (1 - a) (I - a w)^{-1} q^0 is one linear solve, for the price of a few rounds. It is
well-conditioned: (1 + a) / (1 - a) at most, which is 3 for a = 1/2. Since a w shrinks every
difference by a, no probability of q^T is further from it than a^T.

Three ways, from exact to cheap:

    iteration    exact for every number of rounds; small clusters
    solve        the fixed point; also stands in for T rounds where a^T <= 1e-6
    neighbours   w cut to the m nearest, q to the `keep` largest after each round; memory
                 and time are linear in the number of examples

Files: `labels` (the result), `diffusion` (the settings), `by_cluster` (all examples), `kmeans`,
`cluster` (one cluster), `tables` (iteration and solve), `nearest` (neighbours).
"""

from softrec.targets.build.propagation.by_cluster import propagate
from softrec.targets.build.propagation.labels import PropagatedLabels

__all__ = ["PropagatedLabels", "propagate"]
