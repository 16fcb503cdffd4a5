"""``python -m pessimism``: the command line."""

import sys

from .extras import need


def main() -> int:
    """Run the command line; exit status 2 and one line where the packages that it needs are not installed."""
    try:
        need("commands", "rich", "typer")
    except ValueError as missing:
        print(f"error: {missing}", file=sys.stderr)
        return 2
    from .cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
