"""Stops the build of an image that got another PyTorch than it is for: ``python check_torch.py cpu|gpu``."""

import sys

import torch


def main() -> None:
    """Entry point."""
    asked, found = sys.argv[1], "gpu" if torch.version.cuda else "cpu"
    if asked != found:
        sys.exit(
            f"Error: PyTorch {torch.__version__} is a build for the {found}, and this is the {asked} image. Give the {asked} image's build "
            "by the wheelhouse, or by PyTorch's own index (--extra-index-url); docs/images.md."
        )


if __name__ == "__main__":
    main()
