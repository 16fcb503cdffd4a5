"""Verdicts: one sentence on whether an objective is pessimistic, and by how much.

`pessimism compare`, `audit` and `lint` take the sentence from here, so that they say the same of the same rewards.
"""

from __future__ import annotations

from .algorithm import Algorithm
from .compare import Comparison
from .prefixes import OF_ONE_TOKEN, has_prefix_regimes, regime_words
from .standing import Account, Standing

ALMOST_NOTHING = 1e-9
"""Nats from the behavior policy that are rounding."""

REGIMES = ("positive", "boundary", "negative")


def verdict(comparison: Comparison) -> str:
    """One line: is the induced target more conservative than the nominal one, and by how much?"""
    account = Account().add(Standing.of(comparison))
    return verdict_of(comparison.algorithm, account, "groups" if comparison.sampled else "rows")


def verdict_of(algorithm: Algorithm, account: Account, rows: str = "groups") -> str:
    """The same from standings, however they were added up; ``rows`` is what they are called."""
    if account.lone is not None:
        return _of_one(algorithm, account.lone)
    return _of_many(algorithm, account, rows)


def temperature_words(algorithm: Algorithm) -> str:
    """The temperature by the name that it has among the parameters, with its value.

    >>> import pessimism as ps
    >>> temperature_words(ps.algorithm("oapl", beta1=1, beta2=1e-3))
    'beta2 = 0.001'
    """
    names = (name for name, value in algorithm.parameters.items() if value == algorithm.beta)
    return f"{next(reversed([*names]), 'the temperature')} = {algorithm.beta:g}"


def _of_one(algorithm: Algorithm, row: Standing) -> str:
    induced, nominal, stated = float(row.kl[0]), float(row.nominal_kl[0]), float(row.stated_kl[0])
    moves = (
        f"KL from the behavior policy {induced:.3f} nats (nominal {nominal:.3f}), "
        f"value {row.value[0]:.3f} (nominal {row.nominal_value[0]:.3f})"
    )
    kind, regime = str(row.kind[0]), str(row.regime[0])
    where = f" ({regime_words(algorithm, regime)})" if regime else ""
    if kind == "not converged":
        return "not converged: the flow was still moving when its time was up; " + moves
    if kind == "unstable":
        return "at rest, but unstable: rewards agree, and any small deviation from the behavior policy grows"
    if row.silent[0] and row.same[0] and induced < ALMOST_NOTHING:
        return "no signal: all rewards agree, and both targets are the behavior policy"
    if row.saturated[0]:
        either = f"{induced:.3f} nats from the behavior policy, value {row.value[0]:.3f}"
        return (
            f"saturated: {temperature_words(algorithm)} is so small beside the differences of the rewards that both "
            f"targets put all mass on the most rewarding arms, {either}; the regime{where} makes no difference here"
        )
    if row.same[0]:
        nats = f"{induced:.3f} nats from the behavior policy"
        return f"no implicit pessimism{where}: the induced target is the nominal one, {nats}"
    path = " (path-dependent)" if kind == "path-dependent" else ""
    if row.at_stated[0]:
        return f"explicit pessimism only{path}: it stops where it states; {moves}"
    if kind == "vertex":
        return f"collapse onto arm {row.winner[0]}, {'the' if row.best[0] else 'not the'} most rewarding one; {moves}"
    if regime == "negative":
        return f"fragile{where}{path}: {moves}"
    says_nothing_else = algorithm.stated is None
    claimed = "nominal" if says_nothing_else else "stated"
    word = "pessimistic" if induced < stated else f"optimistic: beyond its {claimed} target"
    part = "" if says_nothing_else else f"; {stated:.3f} nats where it states that it stops"
    return f"{word}{where or path}: {moves}{part}"


def _of_many(algorithm: Algorithm, account: Account, rows: str) -> str:
    of = f"{account.rows:,} {rows}"
    parts = [f"more conservative than nominal on {share(account.counts['closer'], account.rows)} of {of}"]
    if account.counts["alike"]:
        silent = account.counts["silent"]
        why = f" ({share(silent, account.rows)} without signal)" if silent else ""
        parts.append(f"the same on {share(account.counts['alike'], account.rows)}{why}")
    if account.counts["saturated"]:
        parts.append(
            f"saturated on {share(account.counts['saturated'], account.rows)}: {temperature_words(algorithm)} is so "
            "small that both targets put all mass on the most rewarding arms, and the regime makes no difference"
        )
    if account.counts["further"]:
        parts.append(f"beyond nominal on {share(account.counts['further'], account.rows)}")
    words_of = {"vertex": "one arm has all mass", "not converged": "not converged", "unstable": "at rest but unstable"}
    for kind, words in words_of.items():
        if account.kinds[kind]:
            parts.append(f"{words} on {share(account.kinds[kind], account.rows)}")
    if account.regimes:
        shares = [f"{name} {share(account.regimes[name], account.rows)}" for name in REGIMES]
        own = OF_ONE_TOKEN if has_prefix_regimes(algorithm) else ""
        parts.append(f"regimes{own}: " + ", ".join(shares))
    if algorithm.stated is not None and account.counts["implicit"]:
        parts.append(f"more conservative than it states on {share(account.counts['implicit'], account.rows)}")
    parts.append(f"mean KL {account.mean('kl'):.3f} nats (nominal {account.mean('nominal_kl'):.3f})")
    parts.append(f"mean value {account.mean('value'):.3f} (nominal {account.mean('nominal_value'):.3f})")
    return "; ".join(parts)


def share(count: int, total: int) -> str:
    """A share in percent, with as many digits as it takes not to say 0 or 100 of some.

    >>> share(1, 2), share(1, 100_000), share(0, 3)
    ('50.0%', '0.001%', '0.0%')
    """
    value = count / total
    return f"{value:.1%}" if 0.001 <= value <= 0.999 or count in (0, total) else f"{value:.3%}"
