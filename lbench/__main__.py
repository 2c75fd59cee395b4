"""`python -m lbench`."""

from lbench.cli.main import main

main()
