"""Type the formula of a coefficient: both of its targets, the training that leads there, and the claims about it."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Your own objective")

with app.setup:
    import marimo as mo
    import numpy as np
    from matplotlib import colormaps

    import pessimism as ps
    from bandits import instances
    from notebooks.formula import coefficient as coefficient_of
    from notebooks.page import legend_above, new_figure, picture, side_by_side, table
    from pessimism import baselines
    from pessimism.claims import verify
    from pessimism.views import COLORS


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # 4. Bring your own objective

    The update of an objective is $E_{y\sim\mu}[\,c(\ell(y), A(y))\,\nabla\log\pi(y)\,]$. Type its **gradient
    coefficient** $c$ as a formula in `l` (the log-ratio $\log\pi/\mu$), `rho` (the ratio), `A` (the advantage $r - V$)
    and `beta`.
    """)
    return


@app.cell(hide_code=True)
def _():
    written = mo.ui.text(value="0.2 * tanh((A - beta*l) / 0.2)", label="c =", full_width=True)
    mo.vstack([written])
    return (written,)


@app.cell(hide_code=True)
def _():
    mo.accordion(
        {
            "Formulas to try": mo.md("""
    | formula | what it is |
    |---|---|
    | `0.2 * tanh((A - beta*l) / 0.2)` | log-ratio regression whose pull is bounded |
    | `A - beta*l` | log-ratio regression |
    | `A` | the policy gradient without an importance weight |
    | `rho*A - beta*rho*l` | log-ratio regression with the importance weight |
    | `exp(A / beta)` | advantage-weighted regression |
    | `A - beta*l^3` | a regression that hardly pulls near the behavior policy |

    Functions: exp, log, sqrt, tanh, abs, sign, sigmoid, min, max, clip(x, low, high), where(condition, x, y). For
    anything else write Python: `marimo edit notebooks/04_your_own_objective.py`, and let `coefficient` be a function of
    arrays (log_ratio, advantage).
    """)
        }
    )
    return


@app.cell(hide_code=True)
def _(beta, written):
    try:
        coefficient, fault = coefficient_of(written.value, beta.value), ""
    except ValueError as error:
        coefficient, fault = None, str(error)
    mo.stop(coefficient is None, mo.callout(mo.md(f"**This cannot be read:** {fault}."), kind="danger"))
    return (coefficient,)


@app.cell(hide_code=True)
def _():
    choices = {choice.__name__: choice for choice in (instances.five_arm, instances.three_arm)}
    instance = mo.ui.dropdown(choices, value="five_arm", label="bandit")
    beta = mo.ui.slider(
        steps=[0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0], value=0.3, label="beta", show_value=True, debounce=True
    )
    shift = mo.ui.slider(
        -2, 1, step=0.1, value=0.0, label="baseline V = mean reward plus", show_value=True, debounce=True
    )
    mo.hstack([instance, beta, shift], justify="start", gap=3, wrap=True)
    return beta, instance, shift


@app.cell
def _(beta, coefficient, instance, shift):
    bandit = instance.value()
    baseline = baselines.shifted_mean(shift.value)
    yours = ps.compare(bandit, ps.Algorithm(coefficient, baseline, name="yours"))
    plain = ps.compare(bandit, ps.algorithm("dro", beta=beta.value, baseline=baseline))
    return bandit, plain, yours


@app.cell(hide_code=True)
def _(yours):
    mo.callout(
        mo.md(f"""
        **{yours.verdict[0].upper()}{yours.verdict[1:]}.** The induced target is {yours.induced.kind}, found by
        {yours.induced.method}; its normalizer is λ = {yours.induced.normalizer:.4f}.
        """),
        kind="warn" if yours.regime == "negative" else "info",
    )
    return


@app.function
def draw_targets(yours, plain):
    """The behavior policy, both targets of the objective, and the induced one of plain regression."""
    figure, axes = new_figure()
    places = np.arange(yours.bandit.arms)
    bars = (
        ("behavior", yours.bandit.behavior, COLORS["behavior"]),
        ("yours, induced", yours.induced.policy, COLORS["induced"]),
        ("yours, nominal", yours.nominal.policy, COLORS["nominal"]),
        ("plain regression, induced", plain.induced.policy, "#5dade2"),
    )
    for offset, (name, policy, color) in zip((-0.3, -0.1, 0.1, 0.3), bars, strict=True):
        axes.bar(places + offset, policy, 0.19, label=name, color=color)
    axes.set(xlabel="arm", ylabel="probability", ylim=(0, 1), xticks=places)
    legend_above(axes, columns=2)
    return figure


@app.cell
def _(bandit, yours):
    flow = ps.gradient_flow(bandit, yours.algorithm, keep=100, rtol=1e-8)
    distance = np.abs(flow.policy - yours.induced.policy).sum() / 2
    return distance, flow


@app.function
def draw_flow(flow, target, bandit):
    """The policy along the flow, and the target where it should end."""
    figure, axes = new_figure()
    started = flow.times > 0
    shades = colormaps["viridis"](np.linspace(0.05, 0.85, bandit.arms))
    for arm, shade in enumerate(shades):
        axes.plot(flow.times[started], flow.policies[started, arm], color=shade, label=f"arm {arm}")
        axes.axhline(target.policy[arm], color=shade, linestyle=":", linewidth=1)
    axes.set(xscale="log", xlabel="training time (step size × steps)", ylabel="probability", ylim=(0, None))
    legend_above(axes, columns=5)
    return figure


@app.cell(hide_code=True)
def _(bandit, flow, plain, yours):
    side_by_side(
        picture(draw_targets(yours, plain), "Probability of every arm: behavior, your two targets, plain regression"),
        picture(draw_flow(flow, yours.induced, bandit), "Probability of every arm along the gradient flow"),
    )
    return


@app.cell(hide_code=True)
def _(distance, flow, yours):
    of_flow = yours.induced.method == "flow"
    mo.md(f"""
    Left: both targets, and for comparison that of plain log-ratio regression with the same beta and baseline. The
    nominal target is where the same update would stop on data from π itself.

    Right: training itself, as the gradient flow of a softmax policy that starts at the behavior policy. Dotted lines
    are the induced target, {"which was itself found by following the flow" if of_flow else "found without the flow"}.
    At the end of the flow the two are {distance:.1e} apart (total variation), and the policy
    {"had" if flow.converged else "had not"} come to rest.
    """)
    return


@app.cell(hide_code=True)
def _():
    check = mo.ui.run_button(label="Check the claims")
    mo.vstack(
        [
            mo.md("""
            ## What can be said of it

            The claims that any objective must satisfy, tried on generated bandits and searched for counterexamples. The
            same on many more instances: `pessimism verify --algorithm module:name`.
            """),
            check,
        ]
    )
    return (check,)


@app.cell
def _(check, yours):
    # On demand, as it takes seconds and every move of a slider asks for it anew; a script has no button to press.
    mo.stop(not check.value and mo.app_meta().mode != "script")
    with mo.status.spinner("Trying the claims on generated bandits"):
        outcomes = verify(algorithm=yours.algorithm, instances=100, examples=5)
    return (outcomes,)


@app.cell(hide_code=True)
def _(outcomes):
    table(
        ["claim", "verdict", "largest violation", "allowed", "instances"],
        [
            [
                outcome.error or outcome.claim.statement,
                outcome.verdict,
                f"{outcome.worst:.1e}",
                f"{outcome.claim.tolerance:.0e}",
                f"{outcome.instances:,}",
            ]
            for outcome in outcomes
        ],
    )
    return


if __name__ == "__main__":
    app.run()
