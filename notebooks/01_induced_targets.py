"""Choose any objective and a small bandit: where it claims to end, where it really ends, and how far apart they are."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Induced targets")

with app.setup:
    import marimo as mo
    import numpy as np

    import pessimism as ps
    from notebooks.page import legend_above, new_figure, picture, plain_log_ticks, side_by_side, table
    from pessimism import baselines
    from pessimism.views import COLORS


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # 1. What does an objective really drive toward?

    Choose an objective and move the sliders: the policy that it claims to drive toward (*nominal*) and the one that it
    really drives toward on data of the behavior policy (*induced*) come apart.
    """)
    return


@app.cell
def _():
    RULES = {
        "mean reward": lambda beta: baselines.mean(),
        "soft value V*": baselines.log_mean_exp,
        "soft value, at 2β": lambda beta: baselines.log_mean_exp(2 * beta),
        "zero": lambda beta: baselines.constant(0.0),
    }
    REGRESSION = "log-ratio regression, baseline of your choice"
    choices = {REGRESSION: "", **{name: name for name in ps.catalogue()}}
    return REGRESSION, RULES, choices


@app.cell
def _(REGRESSION, choices):
    objective = mo.ui.dropdown(choices, value=REGRESSION, label="objective", searchable=True)
    return (objective,)


@app.cell
def _(RULES):
    beta = mo.ui.slider(
        steps=[0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0],
        value=0.3,
        label="temperature β",
        show_value=True,
    )
    rule = mo.ui.dropdown(RULES, value="mean reward", label="baseline V")
    shift = mo.ui.slider(-3, 3, step=0.1, value=0.0, label="V shift, in β", show_value=True)
    return beta, rule, shift


@app.cell
def _():
    def one_per_arm(start, stop, step, values):
        return mo.ui.array(
            [
                mo.ui.slider(start, stop, step=step, value=value, label=f"arm {arm}", show_value=True)
                for arm, value in enumerate(values)
            ]
        )

    weights = one_per_arm(1, 100, 1, (50, 30, 15, 5))
    rewards = one_per_arm(-1, 1, 0.05, (0.0, 0.0, 0.5, 1.0))
    return rewards, weights


@app.cell(hide_code=True)
def _(beta, objective, rewards, rule, shift, weights):
    # What the chosen objective does not take is not shown.
    own = [beta] if takes_temperature(objective.value) else []
    own += [rule, shift] if not objective.value else []
    mo.hstack(
        [
            mo.vstack([mo.md("**Objective**"), objective, *own]),
            mo.vstack([mo.md("**Behavior policy μ** (weights)"), *weights]),
            mo.vstack([mo.md("**Rewards r**"), *rewards]),
        ],
        justify="start",
        gap=3,
        wrap=True,
    )
    return


@app.cell
def _(rewards, weights):
    played = np.array(weights.value, dtype=float)
    bandit = ps.Bandit(behavior=played / played.sum(), reward=rewards.value)
    return (bandit,)


@app.function
def value_of(rule, bandit):
    """V: what a baseline rule subtracts from every reward of a bandit."""
    return float(bandit.reward[0] - rule.exact(bandit.reward, bandit.behavior).advantage[0])


@app.function
def temperature_of(name):
    """The parameter of an entry of the catalogue that is the temperature of its target; "" if there is none."""
    known = [each for each in ("beta", "beta2", "tau", "temperature") if each in ps.catalogue()[name].parameters]
    return known[0] if known else ""


@app.function
def takes_temperature(name):
    """Whether the temperature plays a part: always in the regression (""), else where the entry has one."""
    return not name or bool(temperature_of(name))


@app.cell
def _(bandit, beta, objective, rule, shift):
    # Unshifted, the rule itself: the soft value rounded to a number would only be close to the boundary.
    chosen = rule.value(beta.value)
    value = value_of(chosen, bandit) + shift.value * beta.value
    soft_value = value_of(baselines.log_mean_exp(beta.value), bandit)
    if objective.value:
        place = temperature_of(objective.value)
        algorithm = ps.algorithm(objective.value, **({place: beta.value} if place else {}))
    else:
        algorithm = ps.algorithm("dro", beta=beta.value, baseline=value if shift.value else chosen)
    comparison = ps.compare(bandit, algorithm)
    return comparison, soft_value, value


@app.function
def policies_of(comparison):
    """The three policies by the names that their colors have."""
    induced, nominal = comparison.induced.policy, comparison.nominal.policy
    return {"behavior": comparison.bandit.behavior, "induced": induced, "nominal": nominal}


@app.function
def draw_policies(comparison):
    """Every arm's probability under the three policies."""
    figure, axes = new_figure()
    places = np.arange(comparison.bandit.arms)
    for offset, (name, policy) in zip((-0.27, 0.0, 0.27), policies_of(comparison).items(), strict=True):
        axes.bar(places + offset, policy, 0.25, label=name, color=COLORS[name])
    axes.set(xlabel="arm", ylabel="probability", ylim=(0, 1), xticks=places)
    legend_above(axes, columns=3)
    return figure


@app.function
def draw_ratios(comparison):
    """The policies' ratios to the behavior policy, against reward."""
    figure, axes = new_figure()
    bandit = comparison.bandit
    order = np.argsort(bandit.reward, kind="stable")
    for name, policy in policies_of(comparison).items():
        axes.plot(bandit.reward[order], (policy / bandit.behavior)[order], "o-", label=name, color=COLORS[name])
    axes.set(xlabel="reward of the arm", ylabel="probability / behavior probability", yscale="log")
    plain_log_ticks(axes.yaxis)
    legend_above(axes, columns=3)
    return figure


@app.cell(hide_code=True)
def _(comparison, objective, soft_value, value):
    def of_regression():
        place = {"positive": "below", "boundary": "at", "negative": "above"}[comparison.regime]
        return rf"""
            The baseline $V = {value:.3f}$ lies {place} the soft value
            $V^* = \beta \log E_\mu e^{{r/\beta}} = {soft_value:.3f}$: the **{comparison.regime} regime**.
            """

    def of_entry():
        entry = ps.catalogue()[objective.value]
        return f"""
            {comparison.algorithm}: c(l, A) = {entry.coefficient}, with the baseline
            {comparison.algorithm.baseline.formula}. Its target: {entry.target}.
            """

    mo.callout(
        mo.md(
            f"""
            **{comparison.verdict[0].upper()}{comparison.verdict[1:]}.**
            {of_entry() if objective.value else of_regression()}
            """
        ),
        kind="warn" if comparison.regime == "negative" else "info",
    )
    return


@app.cell(hide_code=True)
def _(comparison):
    side_by_side(
        picture(draw_policies(comparison), "Probability of every arm: behavior, induced and nominal, as bars"),
        picture(draw_ratios(comparison), "Ratio to the behavior policy against reward, for the three policies"),
    )
    return


@app.cell(hide_code=True)
def _(comparison):
    MEANINGS = {
        "value": "value: expected reward",
        "kl": "KL(π‖μ): distance from the behavior policy, nats",
        "reverse_kl": "KL(μ‖π): the same, seen from the behavior policy, nats",
        "chi2": "χ²(π‖μ): variance of the ratio π/μ",
        "entropy": "entropy: diversity that is left, nats",
        "ess": "effective sample size, share of the samples",
        "max_ratio": "largest ratio π/μ",
        "effective_temperature": "temperature at which a Gibbs policy is as far from μ",
    }
    columns = (comparison.behavior_metrics, comparison.induced_metrics, comparison.nominal_metrics)
    table(
        ["", "behavior", "induced", "nominal", "nominal − induced"],
        [
            [MEANINGS[name], *(getattr(column, name) for column in columns), gap]
            for name, gap in comparison.gaps.items()
        ],
    )
    return


@app.cell(hide_code=True)
def _():
    mo.accordion(
        {
            "What the words mean": mo.md(r"""
    A **bandit** has a few arms, each with a reward $r$. The data come from a **behavior policy** $\mu$: how often each
    arm was played. A policy $\pi$ is trained on them. *Log-ratio regression* fits $\beta \log(\pi/\mu)$ to the
    **advantage** $A = r - V$. Here $\beta$ is a temperature, in units of reward, and $V$ is the **baseline**, the same
    number for every arm.

    - The **nominal target** is the policy that the objective claims: for the regression $\mu\,e^{r/\beta}$, normalized.
      The update would stop there on fresh data from $\pi$ itself. No baseline moves it.
    - The **induced target** is where the update stops on the data that there are, those of $\mu$. The baseline decides
      how far that is from the nominal target.

    The update stops where its force on every arm is $\lambda\pi$. Half of $\lambda$, the **normalizer**, is the weight
    of a penalty $\chi^2(\pi\|\mu)$ that the objective does not state; below zero it is a bonus for leaving $\mu$.
    """)
        }
    )
    return


if __name__ == "__main__":
    app.run()
