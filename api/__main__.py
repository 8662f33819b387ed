"""`python -m api`: the trunkline command."""

from api.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
