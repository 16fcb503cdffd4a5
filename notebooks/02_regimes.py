"""Slide a baseline across the soft value, and watch the target go from pessimistic to fragile."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Three regimes")

with app.setup:
    import marimo as mo
    import numpy as np
    from matplotlib import colormaps

    import pessimism as ps
    from bandits import instances
    from notebooks.page import legend_above, new_figure, number, picture, plain_log_ticks, side_by_side, table
    from pessimism import baselines
    from pessimism.views import COLORS


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # 2. Three regimes: one number decides

    Log-ratio regression fits $\beta\log\rho$, $\rho = \pi/\mu$, to the advantage $A = r - V$. It stops where

    $$A - \beta \log\rho = \lambda\,\rho \qquad\text{on every arm,}$$

    with one number $\lambda$ for all arms, the **normalizer**. Its sign is decided by where the baseline $V$ lies from
    the **soft value** $V^* = \beta\log E_\mu e^{r/\beta}$:

    - $V < V^*$: **positive regime**, $\lambda > 0$. High ratios cost extra: the target is pessimistic, and unique.
    - $V = V^*$: **boundary**, $\lambda = 0$. The target is exactly the nominal one, $\rho = e^{A/\beta}$.
    - $V > V^*$: **negative regime**, $\lambda < 0$. High ratios pay for themselves. First the target is too aggressive;
      further on, several local minima appear, and the best of them by loss can be an arm that $\mu$ almost never plays.

    Slide the baseline across the soft value.
    """)
    return


@app.cell(hide_code=True)
def _():
    choices = {
        instance.__name__: instance
        for instance in (instances.five_arm, instances.three_arm, instances.rec_counterexample)
    }
    instance = mo.ui.dropdown(choices, value="five_arm", label="bandit")
    beta = mo.ui.slider(steps=[0.3, 0.5, 0.7, 1.0, 1.5, 2.0], value=0.7, label="temperature β", show_value=True)
    offset = mo.ui.slider(-4, 6, step=0.1, value=-1.0, label="(V − V*) / β", show_value=True)
    mo.hstack([instance, beta, offset], justify="start", gap=3, wrap=True)
    return beta, instance, offset


@app.function
def regression(bandit, beta, offset):
    """Log-ratio regression whose baseline lies ``offset`` temperatures above the soft value."""
    rule = baselines.log_mean_exp(beta)
    if offset == 0:  # the rule itself: rounded to a number it would only be close to the boundary
        return ps.algorithm("dro", beta=beta, baseline=rule)
    soft_value = bandit.reward[0] - rule.exact(bandit.reward, bandit.behavior).advantage[0]
    return ps.algorithm("dro", beta=beta, baseline=float(soft_value + offset * beta))


@app.cell
def _(beta, instance):
    # The curves depend on the bandit and the temperature alone: moving the baseline does not compute them again.
    bandit = instance.value()
    offsets = np.linspace(-4, 6, 101)
    sweep = [ps.stationary_points(bandit, regression(bandit, beta.value, float(each))) for each in offsets]
    return bandit, offsets, sweep


@app.cell
def _(bandit, beta, offset):
    algorithm = regression(bandit, beta.value, offset.value)
    minima = ps.stationary_points(bandit, algorithm)
    comparison = ps.compare(bandit, algorithm)
    return algorithm, comparison, minima


@app.function
def draw_normalizers(offsets, sweep, beta, offset):
    """The normalizers of all local minima, and how many there are, against the baseline's place."""
    figure, axes = new_figure()
    normalizers = [[point.normalizer / beta for point in points] for points in sweep]
    others = [(each, other) for each, found in zip(offsets, normalizers, strict=True) for other in found[1:]]
    axes.axhline(0, color="black", linewidth=0.6)
    axes.axvline(offset, ymax=0.88, color=COLORS["nominal"], linewidth=2)
    axes.plot(offsets, [found[0] for found in normalizers], color=COLORS["induced"], label="lowest loss")
    axes.plot(*np.reshape(others, (-1, 2)).T, ".", color="#9e9e9e", markersize=3, label="other local minima")
    for count in sorted({len(found) for found in normalizers}):
        there = [each for each, found in zip(offsets, normalizers, strict=True) if len(found) == count]
        label = f"{count} local minimum" if count == 1 else str(count)
        axes.text(
            float(np.mean(there)), 0.98, label, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=9
        )
    low, high = axes.get_ylim()
    axes.set(ylim=(low, high + 0.15 * (high - low)), xlim=(offsets[0], offsets[-1]))
    axes.set(xlabel="(V − V*) / β", ylabel="normalizer λ / β")
    legend_above(axes, columns=2)
    return figure


@app.function
def draw_lowest(offsets, sweep, bandit, offset):
    """The policy of the minimum of lowest loss against the baseline's place."""
    figure, axes = new_figure()
    shades = colormaps["viridis"](np.linspace(0.05, 0.95, bandit.arms))
    arms = zip(bandit.behavior, bandit.reward, strict=True)
    labels = [f"{arm}: μ = {mu:.3g}, r = {r:.3g}" for arm, (mu, r) in enumerate(arms)]
    axes.stackplot(offsets, np.stack([points[0].policy for points in sweep], axis=-1), colors=shades, labels=labels)
    axes.axvline(offset, color=COLORS["nominal"], linewidth=2)
    axes.set(xlim=(offsets[0], offsets[-1]), ylim=(0, 1))
    axes.set(xlabel="(V − V*) / β", ylabel="lowest minimum: probability of arms")
    legend_above(axes, columns=2)
    return figure


@app.cell(hide_code=True)
def _(bandit, beta, offset, offsets, sweep):
    side_by_side(
        picture(
            draw_normalizers(offsets, sweep, beta.value, offset.value),
            "Normalizer of every local minimum against the place of the baseline; a line marks the slider",
        ),
        picture(
            draw_lowest(offsets, sweep, bandit, offset.value),
            "Probability of every arm in the minimum of lowest loss against the place of the baseline",
        ),
    )
    return


@app.cell(hide_code=True)
def _(bandit, comparison, minima, offset):
    best = minima[0]
    arm = int(best.policy.argmax())
    count = "One local minimum" if len(minima) == 1 else f"{len(minima)} local minima"
    mo.callout(
        mo.md(
            f"""
            **{count}.** The update, started at μ, is {comparison.verdict}.

            The minimum of lowest loss puts {best.policy[arm]:.3f} on arm {arm}, which the behavior policy plays with
            probability {bandit.behavior[arm]:.3g}. The reward of that arm is {number(bandit.reward[arm], 3)}; the mean
            is {number(bandit.behavior @ bandit.reward, 3)}, the best {number(bandit.reward.max(), 3)}.
            """
        ),
        kind="info" if offset.value <= 0 else "warn",
    )
    return


@app.function
def draw_ratios(algorithm, comparison, best):
    """Ratio against advantage: the nominal target, and the equation that holds at a minimum, with the arms on it."""
    figure, axes = new_figure()
    bandit, nominal = comparison.bandit, comparison.nominal
    advantage = algorithm.advantage(bandit.reward, behavior=bandit.behavior)
    order = np.argsort(advantage)
    axes.plot(advantage[order], np.exp(nominal.log_ratio)[order], "--", color=COLORS["nominal"], label="nominal target")
    log_ratio = np.linspace(best.log_ratio.min() - 0.5, best.log_ratio.max() + 0.5, 400)
    # c(log_ratio, A) = A + c(log_ratio, 0) for a regression, so that its equation c = lambda rho tells A itself.
    along = best.normalizer * np.exp(log_ratio) - algorithm.coefficient(log_ratio, np.zeros_like(log_ratio))
    axes.plot(along, np.exp(log_ratio), color=COLORS["induced"], label="lowest minimum")
    axes.plot(advantage, np.exp(best.log_ratio), "o", color=COLORS["induced"])
    room = 0.1 * np.ptp(advantage)
    axes.set(xlim=(advantage.min() - room, advantage.max() + room), yscale="log")
    axes.set(xlabel="advantage A = r − V", ylabel="ratio ρ = π/μ")
    plain_log_ticks(axes.yaxis)
    legend_above(axes, columns=2)
    return figure


@app.function
def draw_policies(comparison, best):
    """The behavior policy, the target reached from it and the minimum of lowest loss."""
    figure, axes = new_figure()
    places = np.arange(comparison.bandit.arms)
    bars = (
        ("behavior", comparison.bandit.behavior, COLORS["behavior"]),
        ("reached from it", comparison.induced.policy, "#5dade2"),
        ("lowest minimum", best.policy, COLORS["induced"]),
    )
    for shift, (name, policy, color) in zip((-0.27, 0.0, 0.27), bars, strict=True):
        axes.bar(places + shift, policy, 0.25, label=name, color=color)
    axes.set(xlabel="arm", ylabel="probability", ylim=(0, 1), xticks=places)
    legend_above(axes, columns=3)
    return figure


@app.cell(hide_code=True)
def _(algorithm, comparison, minima):
    side_by_side(
        picture(
            draw_ratios(algorithm, comparison, minima[0]),
            "Ratio against advantage: the nominal target, and the minimum of lowest loss with the arms on its curve",
        ),
        picture(
            draw_policies(comparison, minima[0]),
            "Probability of every arm: behavior, the target reached from it, the minimum of lowest loss, as bars",
        ),
    )
    return


@app.cell(hide_code=True)
def _(bandit, comparison, minima):
    def row(number, point):
        arm = int(point.policy.argmax())
        reached = np.abs(point.policy - comparison.induced.policy).sum() < 1e-6
        name = f"{number}{' (reached from μ)' if reached else ''}"
        return [
            name,
            float(point.loss),
            float(point.normalizer),
            f"arm {arm}",
            *(float(array[arm]) for array in (point.policy, bandit.behavior, bandit.reward)),
        ]

    table(
        ["local minimum", "loss", "λ", "most likely", "its π", "its μ", "its reward"],
        [row(number, point) for number, point in enumerate(minima, start=1)],
    )
    return


if __name__ == "__main__":
    app.run()
