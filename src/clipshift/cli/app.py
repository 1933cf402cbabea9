"""The commands: `clipshift NAME` is the function of that name in the module of that name, or of that family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclopts import App, Group

from clipshift._version import __version__
from clipshift.cli import prepare
from clipshift.cli.benchmark import benchmark
from clipshift.cli.calibrate import calibrate
from clipshift.cli.check import check
from clipshift.cli.config import config
from clipshift.cli.convert import convert
from clipshift.cli.doctor import doctor
from clipshift.cli.evaluate import evaluate
from clipshift.cli.explain import explain
from clipshift.cli.export import export
from clipshift.cli.fit_events import fit_events
from clipshift.cli.learning_curve import learning_curve
from clipshift.cli.lists import lists
from clipshift.cli.merge import merge
from clipshift.cli.models import models
from clipshift.cli.predict import predict
from clipshift.cli.push import push
from clipshift.cli.report import report
from clipshift.cli.serve import serve
from clipshift.cli.stream import stream
from clipshift.cli.timeline import timeline
from clipshift.cli.train import train
from clipshift.cli.transcode import frames, repack
from clipshift.cli.verify import verify
from clipshift.console import HelpConsole

app = App(
    name="clipshift",
    help="Video classification with TSN, TSM, PP-TSM and PP-TSMv2: from a folder of clips to a measured classifier.",
    version=__version__,
    help_format="plaintext",
    console=HelpConsole(),
)

COMMANDS: dict[str, tuple[Callable[..., Any], ...]] = {
    "Train and use": (
        train,
        evaluate,
        predict,
        explain,
        timeline,
        stream,
        fit_events,
        merge,
        serve,
        calibrate,
        report,
    ),
    "Models: export, convert, measure": (
        export,
        verify,
        benchmark,
        convert,
        models,
        push,
    ),
    "Data sets": (check, learning_curve, lists, frames, repack),
    "Settings and this machine": (config, doctor),
}
"""Every command but `prepare`, which has commands of its own, under the headings of the help."""

_groups = {title: Group(title, sort_key=place) for place, title in enumerate(COMMANDS)}
for title, commands in COMMANDS.items():
    for command in commands:
        app.command(command, group=_groups[title])
prepare.app.group = _groups["Data sets"]
app.command(prepare.app)
