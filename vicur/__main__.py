"""``python -m vicur``: the command, where the script of that name is not on the path."""

from vicur.cli import main

main()
