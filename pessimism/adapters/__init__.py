"""The catalogue inside other trainers: ``trl``, ``verl``, ``prime_rl`` and ``trinity``, one module each.

None of them is imported here: a module of this package needs the trainer that it is named after, and nothing else in
``pessimism`` does. They translate names. Advantages come from an objective's baseline, losses from its coefficient:

    loss = -scale * c(log_ratio, advantage) * log_prob,    c held fixed,

whose gradient is the objective's; its value means nothing. The versions that they were written against are in
``docs/adapters.md``.
"""
