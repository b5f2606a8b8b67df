"""Runs Python code as if some packages were not installed: `python without.py a,b CODE`."""

import sys
from importlib import metadata
from importlib.machinery import PathFinder


def hide(hidden):
    """Make packages look as if they were not installed."""
    by_name = metadata.Distribution.from_name.__func__  # pyright: ignore[reportFunctionMemberAccess]

    class Finder(PathFinder):
        @classmethod
        def find_spec(cls, fullname, path=None, target=None):
            if fullname.partition(".")[0] in hidden:
                return None
            return PathFinder.find_spec(fullname, path, target)

    def from_name(cls, name):
        if name.removesuffix("-cpu") in hidden:
            raise metadata.PackageNotFoundError(name)
        return by_name(cls, name)

    metadata.Distribution.from_name = classmethod(from_name)
    sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]


if __name__ == "__main__":
    hide(set(sys.argv[1].split(",")))
    exec(compile(sys.argv[2], "code", "exec"))
