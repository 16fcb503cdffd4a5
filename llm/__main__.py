"""``python -m llm``: train language models with the catalogue's objectives."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
