"""`softrec serve`: a finished run, or an export of one, over HTTP."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from softrec.cli.options import Plugins, Trust, load
from softrec.cli.show import print_line
from softrec.errors import SoftrecError

if TYPE_CHECKING:
    from softrec.serving.base import RecommenderBase
    from softrec.serving.http.live import Deployed

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    served: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|EXPORT",
            help="The folder of a finished run or of an export; or a link to one, or a text file "
            "with its path, so that another one can take its place later.",
        ),
    ],
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen on. By default only programs on this machine can ask; "
            "0.0.0.0 stands for all addresses."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 stands for any free one.")
    ] = 8000,
    watch: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Look every so many seconds whether the folder, the link or the file leads to "
            "another run, and serve it then.",
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            help="A table of the items, with a column id, perhaps title, and any others for rules "
            "(CSV, JSON lines, Parquet); it takes the place of the run's own."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Requests that are worked on at once; by default one for each core."
        ),
    ] = None,
    connections: Annotated[
        int, typer.Option(min=1, help="Sockets that may be open at once.")
    ] = 512,
    trust: Trust = False,
    plugins: Plugins = None,
) -> None:
    """Serve recommendations over HTTP, with a page to try them on.

    POST /recommend gives lists for users and histories, POST /interests what the model takes for
    their interests, GET /items searches the catalogue, GET /health and GET /metrics are for
    whoever watches the server, and /openapi.json describes all of it. The page is at /.

    If the environment variable SOFTREC_API_KEY is set, requests must bring that key as the header
    X-API-Key or as Authorization: Bearer; only the page and /health need none.

    A new run takes the place of the old one without a request being dropped: let the link or the
    file lead to it, and give --watch, or send the signal SIGHUP, or POST /reload (with the key).
    If it cannot be loaded, the old one goes on, and the log and /health say why.

    Examples:
      softrec serve runs/first

      softrec serve exports/first --items items.csv

      softrec serve runs/current --watch 5 --port 8080
    """
    load(plugins)
    cores = os.cpu_count() or 1
    limits = Limits(threads or cores, connections)
    _run(served, host, port, watch, limits, Loader(limits.threads, items, trust))


def _run(
    served: Path,
    host: str,
    port: int,
    watch: float | None,
    limits: Limits,
    load_folder: Loader,
) -> None:
    """Load what is to be served, and serve it."""
    from softrec.extras import require

    for package in ("fastapi", "uvicorn", "prometheus_client"):
        require(package, "softrec serve")
    from softrec.serving.http.app import KEY, create_app, key_of_environment
    from softrec.serving.http.limits import Load
    from softrec.serving.http.live import Live
    from softrec.serving.http.metrics import Metrics
    from softrec.serving.http.run import listening
    from softrec.serving.http.run import serve as run

    key = key_of_environment()
    bounds = Load(threads=limits.threads, connections=limits.connections)
    with listening(host, port) as bound:
        metrics = Metrics()
        live = Live(metrics, load_folder, served)
        app = create_app(live, key=key, load=bounds, watch=watch)
        facts = live.current.facts()
        address = f"[{host}]" if ":" in host else host
        place = f"http://{address}:{bound.getsockname()[1]}"
        kind = {"run": "a run", "export": "an export"}[facts["kind"]]
        print_line(f"serving {facts['model']}, {kind}, at {place}; Ctrl-C ends it")
        if key is None and host not in LOOPBACK:
            print_line(f"whoever reaches {host} may ask; set {KEY} to a key", "[yellow]note:[/] ")
        run(app, bound, bounds, metrics)


class Limits(NamedTuple):
    """What the options of the command limit."""

    threads: int
    connections: int


class Loader(NamedTuple):
    """Makes a service of a run or an export.

    Args:
        threads: of the server, among which the cores are shared.
        items: a table of the items, in place of that of the folder.
        trust: do not check the hashes of a run.
    """

    threads: int = 1
    items: Path | None = None
    trust: bool = False

    def __call__(self, folder: Path) -> Deployed:
        """Return the service of a folder.

        Raises:
            SoftrecError: if it is neither run nor export, or cannot be used.
        """
        from softrec.files import sha256_of
        from softrec.serving.catalogue import Catalogue
        from softrec.serving.http.live import Deployed

        table = None if self.items is None else Catalogue.read(self.items)
        kinds = {"run": ("run.json", self._run), "export": ("manifest.json", self._export)}
        for kind, (name, made) in kinds.items():
            file = folder / name
            if not file.exists():
                continue
            service = made(folder)
            if table is not None:
                service.table = table
            created = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            return Deployed(service, kind, sha256_of(file)[:12], created)
        raise SoftrecError(
            f"{folder} is neither a finished run (no run.json) nor an export (no manifest.json); "
            "make a run with softrec fit"
        )

    def _run(self, folder: Path) -> RecommenderBase:
        import torch

        from softrec.experiments.train import open_run

        torch.set_num_threads(self._cores)
        return open_run(folder, trust=self.trust).recommender()

    def _export(self, folder: Path) -> RecommenderBase:
        from softrec.serving.exported import ExportedRecommender

        return ExportedRecommender(folder, trust=self.trust, threads=self._cores)

    @property
    def _cores(self) -> int:
        """Cores of a request: they run side by side, and one alone gains little from more."""
        return max(1, (os.cpu_count() or 1) // self.threads)
