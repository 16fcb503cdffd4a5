"""The studies that ship: which runs, as data. :mod:`llm.study.sweep` runs them and knows none of them."""

from __future__ import annotations

from .sweep import Schedule, Study, Variant

BETA = 0.1

LAG_VARIANTS = (
    Variant("grpo.no_ratio", "grpo.no_ratio"),
    Variant("grpo", "grpo"),
    Variant("oapl.missing_log_g", "oapl.missing_log_g", {"beta1": 1.0, "beta2": BETA}),
    Variant("oapl.single_beta", "oapl.single_beta", {"beta": BETA}),
    Variant("pmd_mean", "pmd_mean", {"tau": BETA}),
    Variant("oapl", "oapl", {"beta1": 1.0, "beta2": BETA}),
    Variant("shifted_mean", "shifted_mean", {"beta": BETA}),
    Variant("asymre", "asymre", {"shift": -0.1}),
    Variant("rec_oneside_nois", "rec_oneside_nois"),
    Variant("is_regression", "is_regression", {"beta": BETA, "cap": 10.0}),
)

# Up to 50 batches a window: the longest windows pass over theirs eight times, and need twice the steps to get as far.
# Those that tell objectives apart stand first, in case there is no time for all.
LAGS = (Schedule(100, 2, 400), Schedule(400, 8, 800), Schedule(20, 1, 400), Schedule(1, 1, 400))

BASE = {
    "name": "lag",
    "steps": 400,
    "checkpoint_every": 100,
    "model": {"path": "runs/warm/countdown24"},
    "task": {"name": "countdown24"},
    "objective": {"algorithm": "shifted_mean"},
    "rollout": {
        "engine": "transformers",
        "place": "colocated",
        "prompts": 32,
        "group_size": 8,
        "max_tokens": 17,
        "options": {"batch_size": 256},
    },
    "optimizer": {"learning_rate": 3e-4, "clip_norm": 1.0},
    "evaluation": {"every": 100, "prompts": 256, "samples": 8},
}

WARMUP = {"steps": 3000, "every": 500}
"""Of the shortest task, as in configs/tiny_cpu.toml."""

STABLE = ("grpo", "oapl", "shifted_mean", "pmd_mean", "is_regression")
"""Objectives that do not collapse at the shortest length."""

REGRESSIONS = ("oapl", "oapl.single_beta", "shifted_mean", "pmd_mean")
"""Whose targets solve one equation, in the positive regime or at its boundary."""

STABLE_VARIANTS = tuple(variant for variant in LAG_VARIANTS if variant.label in STABLE)


def longer(problems: int, prompts: int) -> Study:
    """The study of answers to several problems in one completion: 17 tokens for each."""
    task = {"name": "countdown24", "options": {"problems": problems}}
    rollout = BASE["rollout"] | {"prompts": prompts, "max_tokens": 17 * problems}
    return Study(
        f"length{17 * problems}",
        f"completions of {17 * problems} tokens: {problems} problems at once, reward the share that is right",
        BASE | {"model": {"path": f"runs/warm/countdown24x{problems}"}, "task": task, "rollout": rollout},
        STABLE_VARIANTS,
        LAGS[:1],
        warmup=WARMUP | {"target": 0.24},
    )


def other_rate(name: str, rate: float, shows: str) -> Study:
    """The study of another learning rate."""
    optimizer = BASE["optimizer"] | {"learning_rate": rate}
    shows = f"whether the learning rate moves the picture: {shows}"
    return Study(name, shows, BASE | {"optimizer": optimizer}, STABLE_VARIANTS, LAGS[:1], warmup=WARMUP)


STUDIES = {
    study.name: study
    for study in (
        Study("lag", "what survives stale data", BASE, LAG_VARIANTS, LAGS, warmup=WARMUP),
        longer(3, prompts=16),
        longer(6, prompts=16),
        Study(
            "cap",
            "the importance-weighted twin under other caps of its ratio",
            BASE,
            tuple(
                Variant(f"is_regression, cap {cap:g}", "is_regression", {"beta": BETA, "cap": cap})
                for cap in (1.0, 3.0, 100.0)
            ),
            LAGS[:2],
            warmup=WARMUP,
        ),
        Study(
            "temperature",
            "whether beta moves the picture",
            BASE,
            tuple(
                Variant(f"{name}, beta {beta:g}", name, parameters(beta))
                for beta in (0.03, 0.3)
                for name, parameters in (
                    ("oapl", lambda beta: {"beta1": 10 * beta, "beta2": beta}),
                    ("shifted_mean", lambda beta: {"beta": beta}),
                    ("is_regression", lambda beta: {"beta": beta, "cap": 10.0}),
                )
            ),
            LAGS[:1],
            warmup=WARMUP,
        ),
        Study(
            "reuse",
            "whether it matters how often a window's batches are used: once and eight times instead of twice",
            BASE,
            STABLE_VARIANTS,
            (Schedule(100, 1, 400), Schedule(100, 8, 400)),
            warmup=WARMUP,
        ),
        other_rate("rate", 1e-4, "a third of it"),
        other_rate("rate_high", 1e-3, "three times it"),
        Study(
            "identity",
            "whether 64 groups, one for each prompt, end where theory says when they are trained on to the end",
            BASE | {"checkpoint_every": 400, "evaluation": BASE["evaluation"] | {"every": 400}},
            tuple(variant for variant in LAG_VARIANTS if variant.label in REGRESSIONS),
            (Schedule(400, 200, 400),),
            warmup=WARMUP,
        ),
        Study(
            "noise",
            "a verifier that errs: one in ten right answers fails, one in fifty wrong ones passes",
            BASE | {"task": {"name": "countdown24", "false_negative": 0.1, "false_positive": 0.02}},
            tuple(variant for variant in LAG_VARIANTS if variant.algorithm != "oapl.missing_log_g"),
            LAGS[:1],
            warmup=WARMUP,
        ),
    )
}
"""Studies by name."""
