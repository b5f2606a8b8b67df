"""The text of the package page: README.md without links to files, or pictures, of the checkout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"!\[[^\]]*\]\((?!https?:)[^)]*\)\n*")
FILE_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)")


class PackagePage(MetadataHookInterface):
    """Fills in `readme` when a wheel or a source distribution is built."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Put the text of the page into the metadata."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": FILE_LINK.sub(r"\1", PICTURE.sub("", text)),
        }
