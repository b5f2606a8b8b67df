r"""DesoRec's interest sharing: labels are propagated among similar training examples.

Let x_u be the vector of example u (the user vector of a trained base model) and y_u its label.
Inside each cluster of examples

    w_uv     = softmax over v != u of (-|x_u - x_v|_2 / tau)     similarities
    q^0_u    = e_{y_u}                                           one-hot labels
    q^{t+1}  = a w q^t + (1 - a) q^0                             `rounds` times

w has n x n numbers, q has n x L, where L is the number of labels that occur in the cluster. The
fixed point (1 - a) (I - a w)^{-1} q^0 is one linear solve, which costs as much as a few rounds. Its
condition number is at most (1 + a) / (1 - a), which is 3 for a = 1/2. Since each round multiplies
differences by at most a, no probability of q^T differs from the fixed point by more than a^T.

There are three methods, from exact to cheap:

    iteration    exact for every number of rounds; for small clusters
    solve        the fixed point; also used for T rounds if a^T <= 1e-6
    neighbours   w is restricted to the m nearest examples, and q to the `keep` largest entries
                 after each round; memory and time are linear in the number of examples

Files: `labels` (the result), `diffusion` (the settings), `by_cluster` (all examples), `kmeans`,
`cluster` (one cluster), `tables` (iteration and solve), `nearest` (neighbours).
"""

from softrec.targets.build.propagation.by_cluster import propagate
from softrec.targets.build.propagation.labels import PropagatedLabels

__all__ = ["PropagatedLabels", "propagate"]
