"""Pages of the API reference, which mkdocstrings fills from docstrings."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.website.markdown import Pages, page, table

PACKAGE = {
    "pessimism": "targets, comparison and catalogue: what `import pessimism as ps` gives",
    "pessimism.baselines": "what is subtracted from the reward",
    "pessimism.corrections": "importance weights that are truncated or masked, and rejection, on top of an objective",
    "pessimism.masks": "what an update leaves out: by sign, probability, rank or second moment",
    "pessimism.penalties": "KL terms in the loss or in the reward",
    "pessimism.compose": "composing an objective with these",
    "pessimism.construction": "which objectives the source paper's construction recovers",
    "pessimism.gap": "what corrections make of a gap per token at a length",
    "pessimism.objectives.policy_gradient": "coefficients and targets of policy gradients",
    "pessimism.objectives.ratio": "coefficients and targets of importance-weighted objectives",
    "pessimism.objectives.clip": "coefficients and jumps of clipped objectives",
    "pessimism.objectives.rec": "REC's clips, with and without the ratio",
    "pessimism.objectives.shaped": "clips and ratios of another shape: CE-GPPO, ASPO, LUFFY",
    "pessimism.objectives.regression": "coefficients and targets of log-ratio regression",
    "pessimism.objectives.importance_regression": "log-ratio regression with an importance weight, FlowRL",
    "pessimism.objectives.residual": "regression with part of its pessimism taken out",
    "pessimism.objectives.weighted": "coefficients and targets of weighted likelihood",
    "pessimism.objectives.preference": "coefficients and targets of preference losses",
    "pessimism.guarantees": "how much pessimism noise justifies, and how much keeps a sync within a trust region",
    "pessimism.monitor": "what the audit says, said of every step of a run",
    "pessimism.prefixes": "regimes of the prefixes of a completion",
    "pessimism.levels": "the level at which a log-ratio is taken",
    "pessimism.solve": "solvers and divergences that know no objective: Lambert systems, fixed points, the flow",
    "pessimism.claims": "claims: making them and verifying them",
    "pessimism.claims.families": "generated instances that claims are tried on",
    "pessimism.claims.support": "pieces that checks share",
    "pessimism.claims.exact": "targets and statistics of small instances in 50 digits",
    "pessimism.claims.symbolic": "proofs by computer algebra",
    "pessimism.audit.run": "audits of logged rollouts",
    "pessimism.lint": "checks of trainers' configurations",
    "pessimism.trainers.tokens": "losses of whole completions for trainers",
    "pessimism.trainers.trl.adapter": "TRL's trainer with any objective",
    "pessimism.trainers.trl.monitor": "watching a run of TRL",
    "pessimism.trainers.verl.adapter": "verl's loss and advantage with any objective",
    "pessimism.trainers.verl.monitor": "watching a run of verl",
    "pessimism.trainers.trinity.adapter": "Trinity-RFT's loss and advantage with any objective",
    "pessimism.trainers.trinity.monitor": "watching a run of Trinity-RFT",
    "pessimism.trainers.prime_rl.adapter": "prime-rl's loss and advantage with any objective",
    "pessimism.trainers.prime_rl.monitor": "watching a run of prime-rl",
}
"""Public module -> what is in it, for users."""

TOOLS = {
    "pessimism.display": "how results show themselves",
    "pessimism.views": "colors of figures",
    "pessimism.shell": "files, names that users write, hints",
    "pessimism.shell.terminal": "commands and what they print",
    "pessimism.studies": "long computations on disk",
    "pessimism.studies.kept": "a study kept in one file",
}
"""Public module -> what is in it, for packages that build on this one, as `bandits` and `llm` do."""

CHECKOUT = {
    "bandits.instances": "tabular worlds",
    "bandits.settings": "settings of a simulation",
    "bandits.simulate": "lagged learning, many seeds at a time",
    "bandits.trajectory": "what a simulation records",
    "bandits.three_policies": "clips measured from the sampler or from a newer policy",
    "bandits.recursion": "the ideal recursion of targets",
    "bandits.sweeps": "grids of simulations",
}
"""Module -> what is in it, of a checkout."""

MODULES = PACKAGE | TOOLS | CHECKOUT
"""Everything public, by the names in each module's ``__all__``."""

INTRODUCTION = """From the docstrings. Whatever is not listed here is internal and may change without notice."""


def pages() -> Pages:
    """An overview, and a page for each module."""
    made: Pages = {f"api/{name}.md": page(f"`{name}`", f"::: {name}") for name in MODULES}
    made["api/index.md"] = page(
        "API reference",
        INTRODUCTION,
        _overview(PACKAGE),
        "For packages that build on this one:",
        _overview(TOOLS),
        "From a checkout (`bandits`, `llm` and `paper_figures` are not installed with the package):",
        _overview(CHECKOUT),
    )
    return made


def _overview(modules: Mapping[str, str]) -> str:
    return table(("module", "contents"), ((f"[`{name}`]({name}.md)", text) for name, text in modules.items()))
