"""`python -m cxplane.edges.cli`: the same as `cxplane`."""

from cxplane.edges.cli.app import main

if __name__ == "__main__":
    main()
