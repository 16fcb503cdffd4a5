"""What does an off-policy reinforcement-learning objective really optimize toward?

>>> import pessimism as ps
>>> bandit = ps.Bandit(behavior=[0.5, 0.3, 0.2], reward=[0, 0, 1])
>>> algorithm = ps.algorithm("oapl", beta1=1.0, beta2=0.5)
>>> ps.induced_target(bandit, algorithm).policy.round(4)
array([0.2606, 0.1564, 0.583 ])
>>> ps.nominal_target(bandit, algorithm).policy.round(4)
array([0.2195, 0.1317, 0.6488])
"""

from . import baselines, corrections, masks, penalties
from .advice.advice import Advice, advise
from .algorithm import Algorithm, Coefficient
from .audit.api import audit
from .bandit import Bandit
from .baseline import Baseline
from .compare import Metrics
from .comparison import Comparison, compare, compare_group
from .guarantees import LowerConfidenceBound, Prescription, lcb, prescribe
from .lint.api import lint
from .objectives.catalogue import algorithm, catalogue
from .objectives.entry import Entry, Parameter
from .objectives.residual import residual
from .prefixes import PrefixRegimes, prefix_regimes
from .shell.objects import algorithm_of
from .stationary_points import StationaryPoint, stationary_points
from .target import Target
from .targets import gradient_flow, group_target, induced_target, nominal_target, regression_regime

Algorithm.read = staticmethod(algorithm_of)  # names of the catalogue, module:name, file.py:name

__version__ = "0.1.0"

__all__ = [
    "Advice",
    "Algorithm",
    "Bandit",
    "Baseline",
    "Coefficient",
    "Comparison",
    "Entry",
    "LowerConfidenceBound",
    "Metrics",
    "Parameter",
    "PrefixRegimes",
    "Prescription",
    "StationaryPoint",
    "Target",
    "advise",
    "algorithm",
    "audit",
    "baselines",
    "catalogue",
    "compare",
    "compare_group",
    "corrections",
    "gradient_flow",
    "group_target",
    "induced_target",
    "lcb",
    "lint",
    "masks",
    "nominal_target",
    "penalties",
    "prefix_regimes",
    "prescribe",
    "regression_regime",
    "residual",
    "stationary_points",
]
