"""prime-rl's orchestrator (0.7.0 and later) with advantages by an objective's baseline where its "grpo" is.

Takes what the command ``orchestrator`` takes: ``python examples/prime_rl/orchestrator.py @ orchestrator.toml``.
"""

from prime_rl.entrypoints.orchestrator import main
from prime_rl.orchestrator.algo import ALGORITHM_CLASSES

from pessimism.trainers.prime_rl.adapter import algorithm_class

ALGORITHM_CLASSES["grpo"] = algorithm_class({"name": "oapl", "beta1": 1.0, "beta2": 0.001})

if __name__ == "__main__":
    main()
