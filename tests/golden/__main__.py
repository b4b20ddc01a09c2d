"""``python -m tests.golden PREFIX``: exits 0 only if our student agrees with the golden model at that prefix."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tests.golden.compare import TOLERANCE, compare
from vicur.errors import VicurError


def main(arguments: list[str] | None = None) -> int:
    """Prints the largest differences from a golden model and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=main.__doc__)
    parser.add_argument("prefix", type=Path, help="what the golden model's three files begin with")
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        found = compare(parser.parse_args(arguments).prefix)
    except VicurError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"largest logit difference, module on   {found.with_module:.2e}  (at most {TOLERANCE:.0e})")
    print(f"largest logit difference, module off  {found.without_module:.2e}  (at most {TOLERANCE:.0e})")
    print(f"likeliest tokens that differ          {found.argmax}")
    print(f"generated tokens that differ          {found.generated}")
    print("agrees" if found.agree else "DOES NOT AGREE")
    return 0 if found.agree else 1


if __name__ == "__main__":
    sys.exit(main())
