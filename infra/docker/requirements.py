"""Prints what pyproject.toml requires, one line each, so that an image can install it before our own code is there. Standard library only."""

import sys
import tomllib


def requirements(pyproject: str, extras: list[str]) -> list[str]:
    """The dependencies and those of the extras. Raises KeyError for an extra that is not there."""
    with open(pyproject, "rb") as file:
        project = tomllib.load(file)["project"]
    return [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1], sys.argv[2:])))
