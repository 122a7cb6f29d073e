"""`python -m simulate` does the same as `wardround simulate`."""

from wardround import run_command

if __name__ == "__main__":
    run_command("simulate")
