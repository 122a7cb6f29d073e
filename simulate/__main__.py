"""`python -m simulate` does the same as `wardround simulate`."""

import sys

from wardround import main

if __name__ == "__main__":
    main(["simulate", *sys.argv[1:]])
