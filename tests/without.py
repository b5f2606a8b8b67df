"""Runs Python code as if some packages were not installed: `python without.py a,b CODE`."""

import sys
from importlib import metadata
from importlib.machinery import PathFinder

HIDDEN = set(sys.argv[1].split(","))
FROM_NAME = metadata.Distribution.from_name.__func__  # pyright: ignore[reportFunctionMemberAccess]


class Finder(PathFinder):
    """Finds what is installed, but for the hidden packages."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        hidden = fullname.partition(".")[0] in HIDDEN
        return None if hidden else PathFinder.find_spec(fullname, path, target)


def from_name(cls, name):
    if name.removesuffix("-cpu") in HIDDEN:
        raise metadata.PackageNotFoundError(name)
    return FROM_NAME(cls, name)


metadata.Distribution.from_name = classmethod(from_name)
sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
exec(compile(sys.argv[2], "code", "exec"))
