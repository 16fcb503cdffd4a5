"""Learn from data that grow old: which objectives keep value and entropy, and which collapse."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Lag and collapse")

with app.setup:
    import functools

    import marimo as mo
    import numpy as np

    import pessimism as ps
    from bandits import instances
    from bandits.noise import VerifierNoise
    from bandits.settings import Settings
    from bandits.simulate import simulate
    from bandits.trajectory import SUPPORT
    from notebooks.page import legend_above, new_figure, number, picture, side_by_side, table
    from paper_figures.style import STYLES


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # 3. Lag, and who keeps exploring

    In practice the data are stale. At every **sync** the current policy becomes the behavior policy: it draws groups of
    answers, a verifier rewards them, and the policy trains on them for as many steps as the **lag** says, until the
    next sync. Objectives that go to equally good targets can differ in how much **entropy** (diversity of answers) they
    leave, and in what few samples and an unreliable verifier do to them. A false positive is a wrong answer that the
    verifier passes, a false negative a right one that it fails.

    The task: many answers, few of them right (reward 1, all others 0). Every run starts from the same policy.
    """)
    return


@app.cell
def _():
    BETA = 0.2
    OBJECTIVES = {
        "β-shifted mean": ("shifted_mean", {"beta": BETA}),
        "mean baseline": ("pmd_mean", {"tau": BETA}),
        "OAPL, β1 > β2 (positive)": ("oapl", {"beta1": 5 * BETA, "beta2": BETA}),
        "OAPL, β1 = β2 (boundary)": ("oapl.single_beta", {"beta": BETA}),
        "OAPL without − β1 log G (negative)": ("oapl.missing_log_g", {"beta1": 5 * BETA, "beta2": BETA}),
        "importance-weighted regression": ("is_regression", {"beta": BETA}),
        "GRPO, clipped": ("grpo", {}),
        "GRPO without ratio": ("grpo.no_ratio", {}),
        "AsymRE": ("asymre", {}),
        "TPO": ("tpo", {}),
    }
    return (OBJECTIVES,)


@app.cell(hide_code=True)
def _(OBJECTIVES):
    START = [
        "β-shifted mean",
        "OAPL, β1 = β2 (boundary)",
        "OAPL without − β1 log G (negative)",
        "GRPO, clipped",
        "GRPO without ratio",
    ]
    chosen = mo.ui.multiselect(list(OBJECTIVES), value=START, label="objectives", full_width=True)
    lag = mo.ui.slider(steps=[1, 3, 10, 30, 100, 300], value=100, label="lag, steps", show_value=True)
    group_size = mo.ui.slider(steps=[2, 4, 8, 16, 32, 64], value=8, label="group size", show_value=True)
    false_positive = mo.ui.slider(0, 0.4, step=0.05, value=0, label="false positives", show_value=True)
    false_negative = mo.ui.slider(0, 0.4, step=0.05, value=0, label="false negatives", show_value=True)
    sliders = mo.hstack([lag, group_size, false_positive, false_negative], justify="start", gap=2, wrap=True)
    mo.vstack([chosen, sliders])
    return chosen, false_negative, false_positive, group_size, lag


@app.cell
def _(false_negative, false_positive, group_size, lag):
    bandit = instances.sparse(arms=100, rewarded=10)
    noise = VerifierNoise(false_positive.value, false_negative.value)
    settings = Settings(
        syncs=15,
        lag=lag.value,
        group_size=group_size.value,
        groups=8,
        learning_rate=0.5,
        noise=noise if noise != VerifierNoise() else None,
        targets=False,
    )
    seeds = range(10)
    return bandit, seeds, settings


@app.cell
def _(OBJECTIVES, bandit, seeds, settings):
    @functools.cache
    def trained(name):
        """The runs of one objective at the present settings."""
        entry, parameters = OBJECTIVES[name]
        return simulate(bandit, ps.algorithm(entry, **parameters), settings, seeds)

    return (trained,)


@app.cell
def _(chosen, trained):
    # In a cell of its own, so that one more objective does not train all the others again.
    mo.stop(not chosen.value, mo.md("Choose an objective."))
    runs = {name: trained(name) for name in chosen.value}
    return (runs,)


@app.cell(hide_code=True)
def _(bandit, seeds, settings):
    mo.md(
        f"""
        {len(seeds)} runs each, {bandit.arms} answers of which {int(bandit.reward.sum())} are right;
        {settings.syncs} syncs, each followed by {settings.lag} step{"s" * (settings.lag > 1)} on {settings.groups}
        groups of {settings.group_size} answers. Lines are means over the runs, shades their whole range.
        """
    )
    return


@app.function
def draw_curves(runs, objectives, quantity, label):
    """One quantity over the syncs: the mean over the runs of every objective, and the whole range of the runs."""
    figure, axes = new_figure(height=4.2)
    for name, run in runs.items():
        style = STYLES[objectives[name][0]]
        values = getattr(run, quantity)
        axes.plot(run.sync, values.mean(axis=1), label=name, clip_on=False, **style.lines())
        axes.fill_between(run.sync, values.min(axis=1), values.max(axis=1), color=style.color, alpha=0.1, linewidth=0)
    axes.set(xlabel="sync", ylabel=label, ylim=(0, None), xlim=(1, None))
    legend_above(axes, columns=2)
    return figure


@app.cell(hide_code=True)
def _(OBJECTIVES, runs):
    QUANTITIES = {
        "value": "value: expected true reward",
        "entropy": "entropy of the policy, nats",
        "kl": "KL(π‖μ) moved in the window, nats",
        "ess": "effective sample size, share",
    }
    side_by_side(
        *(
            picture(draw_curves(runs, OBJECTIVES, quantity, label), f"{label}, over the syncs, for every objective")
            for quantity, label in QUANTITIES.items()
        )
    )
    return


@app.cell(hide_code=True)
def _(runs):
    LEARNED = 0.9
    learned = {name: run for name, run in runs.items() if run.value[-1].mean() > LEARNED}
    failed = [name for name in runs if name not in learned]
    by_entropy = sorted(learned, key=lambda name: learned[name].entropy[-1].mean(), reverse=True)
    left = [f"{name} ({learned[name].entropy[-1].mean():.2f})" for name in by_entropy]
    mo.callout(
        mo.md(
            f"""
            Final value above {LEARNED}, in the order of the entropy left, in nats: **{"; ".join(left) or "none"}**.

            Final value up to {LEARNED}: **{"; ".join(failed) or "none"}**.
            """
        ),
        kind="warn" if failed else "info",
    )
    return


@app.cell(hide_code=True)
def _(runs):
    def with_error(values, digits=3):
        """Mean over the runs, and its standard error."""
        return f"{number(values.mean(), digits)} ± {number(values.std(ddof=1) / np.sqrt(len(values)), digits)}"

    table(
        ["after the last sync", "value", "entropy, nats", f"answers with π > {SUPPORT:g}", "groups with λ < 0"],
        [
            [
                name,
                with_error(run.value[-1]),
                with_error(run.entropy[-1]),
                with_error(run.support[-1].astype(float), digits=1),
                "no regimes" if np.isnan(run.negative[-1]).all() else f"{run.negative[-1].mean():.0%}",
            ]
            for name, run in runs.items()
        ],
    )
    return


@app.cell(hide_code=True)
def _(OBJECTIVES, runs):
    entries = {name: ps.catalogue()[OBJECTIVES[name][0]] for name in runs}
    mo.accordion(
        {
            "What the chosen objectives are": table(
                ["", "gradient coefficient (l log-ratio, A advantage, ρ ratio)", "source"],
                [[name, entry.coefficient.replace("rho", "ρ"), entry.source] for name, entry in entries.items()],
            )
        }
    )
    return


if __name__ == "__main__":
    app.run()
