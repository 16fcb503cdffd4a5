r"""How far an update points away from the oracle's: $1 - \cos(g, g^*)$, as TPO's source measures it.

On a bandit with one right arm per context both of its oracles, cross-entropy to the right arm and (with a single
context) the exact policy gradient, point in the supervised direction $g^* = e_{y^*} - \pi$, over all contexts together.
"""

from __future__ import annotations

import numpy as np

import pessimism as ps
from pessimism.shell import understood
from pessimism.solve import log

from .batches import Batch, Generators, Task
from .settings import Settings
from .simulate import Draw, logit_gradient, simulate


def misalignment(update: np.ndarray, oracle: np.ndarray, added: float = 0.0) -> np.ndarray:
    r"""$1 - \cos$ of the angle between vectors on the last axis, in [0, 2]; 1 where the update is 0.

    It is $|u - u^*|^2/2$ for vectors of unit length, which keeps small angles accurate.

    Args:
        update, oracle: (..., n).
        added: added to both squared lengths, as public code does (1e-12) to avoid a division by 0. Where an update is
            not much longer than the root of it, this counts as misalignment.

    >>> float(misalignment(np.array([1.0, 1e-9]), np.array([2.0, 0.0])))
    5e-19
    >>> float(misalignment(np.array([1.0, 0.0]), np.array([1.0, 1.0]), added=3.0).round(3))
    0.776
    """
    units, lengths = zip(*(_unit(vector) for vector in (update, oracle)), strict=True)
    apart = ((units[0] - units[1]) ** 2).sum(axis=-1) / 2
    known = np.minimum(*lengths) > 0
    # What is added shortens both cosine's factors: cos' = cos s with s = prod |v| / sqrt(|v|^2 + added).
    kept = np.prod([length / np.hypot(np.where(known, length, 1.0), added**0.5) for length in lengths], axis=0)
    return np.where(known, apart * kept + (1 - kept), 1.0)


def _unit(vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = np.sqrt((vector**2).sum(axis=-1))
    return vector / np.where(length > 0, length, 1.0)[..., None], length


def misalignments(
    bandit: ps.Bandit, algorithm: ps.Algorithm | str, settings: Settings, seeds: int, draw: Draw, added: float = 0.0
) -> np.ndarray:
    """Misalignment of the first step of every window of simulated runs, (syncs, seeds, ...).

    Args:
        bandit: one right arm (reward 1, else 0) per context; the last batch axis holds the contexts of one problem.
        algorithm, settings, draw: as in :func:`bandits.simulate.simulate`.
        seeds: runs 0, 1, ...
        added: see :func:`misalignment`.

    >>> from bandits.batches import draw_batch
    >>> bandit = ps.Bandit([0.2, 0.8], [1, 0])
    >>> found = misalignments(bandit, ps.algorithm("reinforce"), Settings(syncs=3), 1, draw_batch)
    >>> found.shape, bool(found.max() < 1e-15)
    ((3, 1), True)
    """
    bandit, algorithm = understood(bandit, algorithm)
    blocks: list[list[np.ndarray]] = []
    contexts = bandit.batch_shape[-1] if bandit.batch_shape else 1
    watched = _watched(draw, contexts, added, blocks)
    simulate(bandit, algorithm, settings, range(seeds), draw=watched)
    columns = [np.stack(block) for block in blocks]
    found = np.concatenate(columns, axis=1)
    problems = bandit.batch_shape[:-1]
    return found[:, : seeds * int(np.prod(problems))].reshape(settings.syncs, seeds, *problems)


def _watched(draw: Draw, contexts: int, added: float, blocks: list[list[np.ndarray]]) -> Draw:
    """``draw``, with the misalignment of what it draws noted: a list of syncs for every block of the simulation."""
    tasks: list[Task] = []

    def watched(task: Task, behavior: np.ndarray, generators: Generators) -> Batch:
        batch = draw(task, behavior, generators)
        if not tasks or tasks[-1] is not task:
            tasks.append(task)
            blocks.append([])
        update = logit_gradient(task.algorithm, batch, log(behavior), behavior)
        oracle = task.bandit.reward - behavior
        flat = [vectors.reshape(-1, contexts * behavior.shape[-1]) for vectors in (update, oracle)]
        blocks[-1].append(misalignment(flat[0], flat[1], added))
        return batch

    return watched
