"""`python -m edgesdk` is the command `edgesdk`."""

from edgesdk.cli.main import main

main()
