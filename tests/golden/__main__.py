"""Compare our student with a golden model: ``python -m tests.golden PREFIX``. Exits with 0 if they agree."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tests.golden.compare import TOLERANCE, compare
from vicur.errors import VicurError


def main(arguments: list[str] | None = None) -> int:
    """Print the largest differences from a golden model."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=main.__doc__)
    parser.add_argument("prefix", type=Path, help="common prefix of the golden model's three files")
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        differences = compare(parser.parse_args(arguments).prefix)
    except VicurError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"largest logit difference, module on   {differences.with_module:.2e}  (at most {TOLERANCE:.0e})")
    print(f"largest logit difference, module off  {differences.without_module:.2e}  (at most {TOLERANCE:.0e})")
    print(f"likeliest tokens that differ          {differences.argmax}")
    print(f"generated tokens that differ          {differences.generated}")
    print("agrees" if differences.agree else "DOES NOT AGREE")
    return 0 if differences.agree else 1


if __name__ == "__main__":
    sys.exit(main())
