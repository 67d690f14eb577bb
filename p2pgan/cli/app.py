"""The command `p2pgan`: composition only.

Modules that are slow to import are imported inside the commands that need them, so that help and
version answer at once.
"""

import errno
import os
import sys
from typing import Annotated

import typer

from p2pgan import __version__
from p2pgan.cli import compare, data, doctor, logs, node, results, simulate, topology, up
from p2pgan.errors import CheckFailed, P2PGanError

EXIT_FAILED = 1

app = typer.Typer(
    name="p2pgan",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(simulate.simulate)
app.command()(compare.compare)
app.command()(up.up)
app.add_typer(node.app, name="node")
app.add_typer(topology.app, name="topology")
app.add_typer(logs.app, name="logs")
app.command()(results.sample)
app.command()(results.score)
app.add_typer(data.app, name="data")
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"p2pgan {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Train one generative model of everybody's data by gossip between peers."""


def main() -> None:
    """Runs the command line; our errors become one line on stderr and exit status 1."""
    # Threads of OpenMP that wait by spinning slow small models down up to a hundredfold beside
    # another program of several threads (docs/log.md). Read when torch is loaded, so set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app(prog_name="p2pgan")  # also when it runs as `python -m p2pgan`
    except P2PGanError as error:
        if isinstance(error, CheckFailed):
            typer.echo(error.story, err=True)
        typer.echo(f"p2pgan: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; nothing is left to say.
        sys.stderr.close()
        sys.exit(EXIT_FAILED)
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        typer.echo(
            f"p2pgan: expected room for the output, got {error.strerror} - at stdout", err=True
        )
        # What is still buffered would be refused once more at exit, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
