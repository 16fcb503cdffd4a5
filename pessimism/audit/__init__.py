"""Audits of logged rollouts: what objectives make of the groups in them. Needs the ``audit`` extra."""
