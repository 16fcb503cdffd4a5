"""Pages of the API reference, which mkdocstrings fills from docstrings."""

from __future__ import annotations

from scripts.website.markdown import Pages, page, table

MODULES = {
    "pessimism": "targets, comparison and catalogue: what `import pessimism as ps` gives",
    "pessimism.baselines": "what is subtracted from the reward",
    "pessimism.objectives.policy_gradient": "coefficients and targets of policy gradients",
    "pessimism.objectives.ratio": "coefficients and targets of importance-weighted objectives",
    "pessimism.objectives.regression": "coefficients and targets of log-ratio regression",
    "pessimism.objectives.weighted": "coefficients and targets of weighted likelihood",
    "pessimism.objectives.preference": "coefficients and targets of preference losses",
    "pessimism.guarantees": "how much pessimism noise justifies, and how much keeps a sync within a trust region",
    "pessimism.prefixes": "regimes of the prefixes of a completion",
    "pessimism.levels": "the level at which a log-ratio is taken",
    "pessimism.solve.lambert": "log-ratio regression on the simplex",
    "pessimism.solve.fixed_point": "stationary points of any coefficient",
    "pessimism.solve.flow": "the softmax gradient flow",
    "pessimism.solve.divergences": "divergences between policies",
    "pessimism.claims": "claims, and how to verify them",
    "pessimism.claims.claim": "what a claim is",
    "pessimism.claims.families": "generated instances that claims are tried on",
    "pessimism.trainers.tokens": "losses of whole completions for trainers",
    "bandits.instances": "tabular worlds",
    "bandits.settings": "settings of a simulation",
    "bandits.simulate": "lagged learning, many seeds at a time",
    "bandits.trajectory": "what a simulation records",
    "bandits.recursion": "the ideal recursion of targets",
    "bandits.sweeps": "grids of simulations",
}
"""Module -> what is in it, for the overview."""

INTRODUCTION = """From the docstrings. Everything that is not listed here is internal and may change without notice.
`bandits`, `llm` and `paper_figures` are not installed with the package; they are imported from a checkout."""


def pages() -> Pages:
    """An overview, and a page for each module."""
    made: Pages = {f"api/{name}.md": page(f"`{name}`", f"::: {name}") for name in MODULES}
    rows = ((f"[`{name}`]({name}.md)", text) for name, text in MODULES.items())
    made["api/index.md"] = page("API reference", INTRODUCTION, table(("module", "contents"), rows))
    return made
