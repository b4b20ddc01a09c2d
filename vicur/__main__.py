"""Run the command as ``python -m vicur``, for environments whose scripts are not on the path."""

from vicur.cli import main

main()
