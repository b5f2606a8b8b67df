"""The index of an export: a file beside the others, named by the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from softrec.files import replacing, sealed, write_facts
from softrec.serving.index.kinds import KINDS, Index
from softrec.serving.index.report import EXACT, Measured
from softrec.serving.manifest import INDEX, MANIFEST, read_manifest


def read_index(folder: Path, facts: Mapping[str, Any]) -> Index | None:
    """Return the index of an export; None if all items are to be scored.

    Raises:
        SoftrecError: if the package of the index is missing.
    """
    chosen = facts.get("index")
    if chosen is None or chosen["kind"] == EXACT:
        return None
    kind = KINDS[chosen["kind"]]
    return kind.read(folder / kind.file, chosen["effort"])


def store(folder: Path, rows: Sequence[Measured], chosen: Measured, about: dict[str, Any]) -> None:
    """Write the report and the chosen index to an export, in place of those it has.

    Args:
        folder: of the export.
        rows: of the report.
        chosen: one of the rows.
        about: further entries of the report.
    """
    facts = read_manifest(folder)
    files = {one.file for one in KINDS.values()}
    kept = {name: seal for name, seal in facts["files"].items() if name not in files}
    written = [INDEX]
    if chosen.built is not None and chosen.effort is not None:
        chosen.built.set_effort(chosen.effort)
        with replacing(folder / chosen.built.file) as fresh:
            chosen.built.save(fresh)
        written.append(chosen.built.file)
    told = {**about, "chosen": chosen.plain(), "rows": [row.plain() for row in rows]}
    write_facts(folder / INDEX, told)
    facts["index"] = {"kind": chosen.kind, "effort": chosen.effort}
    facts["files"] = kept | sealed(folder, written)
    write_facts(folder / MANIFEST, facts)
    for name in files - set(written):
        (folder / name).unlink(missing_ok=True)
