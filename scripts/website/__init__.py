"""The documentation site: pages generated from the catalogue, the claims and the figures, and hooks for MkDocs."""
