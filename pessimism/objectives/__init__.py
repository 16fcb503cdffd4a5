r"""The objectives that people train with; one file a family, and in it each objective from formula to catalogue entry.

An objective's update is $E_{y\sim\mu}[c(\ell(y), A(y))\,\nabla\log\pi(y)]$ with its *gradient coefficient* c. Each is
written once, for numpy and torch arrays; beside it stand the target in closed form, where there is one, the log-ratios
at which it jumps, and its :class:`~pessimism.Entry`. Conventions for all coefficients:

* ``log_ratio`` $\ell = \log(\pi/\mu)$ (or $\log(\pi/\pi_{ref})$ where the objective is anchored at a reference) and
  ``advantage`` $A = r - V$ have shape (..., K) with one group on the last axis; the result has that shape and type.
* The ratio is $\rho = e^\ell$.
* Coefficients are stated up to the constant factor of the published loss; :attr:`pessimism.Algorithm.scale` holds it,
  so that ``scale * c`` is minus the derivative of that loss with respect to $\log\pi$.
* *Coupled* coefficients look at the whole group and take ``behavior`` (..., K), its weights: the behavior policy when
  the group is all arms, None (equal weights) for samples drawn from it.

No coefficient validates its input: they run inside training loops. Parameters are checked where an algorithm is made.
Names: a coefficient ``truncated``, its closed form ``truncated_target``, the algorithm with it ``truncated_objective``.
"""
