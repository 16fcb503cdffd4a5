"""The trainers that Pessimism knows, one folder each.

A folder holds the reader of the trainer's configuration (``config``, ``losses``), the layout of its logs (``logs``) and
the adapter that runs the catalogue inside it (``adapter``). An adapter needs the trainer that it is for; nothing else
here does.
"""
