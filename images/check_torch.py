"""Fails the image build if the wrong PyTorch variant is installed: ``python check_torch.py cpu|gpu``."""

import sys

import torch


def main() -> None:
    """Entry point."""
    flavor, found = sys.argv[1], "gpu" if torch.version.cuda else "cpu"
    if flavor != found:
        sys.exit(
            f"Error: PyTorch {torch.__version__} is a {found} build, but this is the {flavor} image. Add the {flavor} build to the "
            "wheelhouse, or use PyTorch's index (--extra-index-url); see docs/images.md."
        )


if __name__ == "__main__":
    main()
