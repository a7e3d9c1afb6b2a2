"""The command tree by name only; a command's file loads when it is chosen."""

from __future__ import annotations

from tuner_tui.python import leave_current_folder_out

leave_current_folder_out()  # before anything else is imported

import importlib  # noqa: E402
import sys  # noqa: E402

import click  # noqa: E402

from tuner_tui import __version__  # noqa: E402
from tuner_tui.errors import TunerError  # noqa: E402

COMMANDS = {
    "train": "Train from a run.toml or a preset.",
    "estimate": "Estimate the memory for tuning a model, before downloading it.",
    "probe": "Measure memory and speed in three real steps on the longest rows.",
    "profile": "Measure where a training step's time goes, and what would help most.",
    "runs": "List, show, follow, stop, resume and delete runs.",
    "queue": "Waiting runs: list, move, remove, hold.",
    "chat": "Chat with base and tuned model side by side.",
    "feedback": "Annotate answers; import, count and export annotations.",
    "demo": "Train a small model on this machine, in two to three minutes.",
    "doctor": "Check this machine and show what to fix.",
    "presets": "Presets to start from.",
    "pick": "Propose model, method and settings for a goal on this machine.",
    "import": "Write a run.toml from settings of Axolotl, LLaMA-Factory, Unsloth or TRL.",
    "config": "Settings: list, get, set and unset.",
    "data": "Check, show and convert data sets.",
    "models": "Models on this machine, and facts about them.",
    "export": "Export a run as adapter, merged model, GGUF, Ollama package, script or archive.",
    "push": "Push a run to the Hugging Face Hub.",
}

KEYWORDS = {"import": "import_"}
"""Commands whose names are words of Python, with the names that their modules and functions have."""

EXIT_CODES = """\b
Exit codes:
  0  success                    4  the run's state does not allow it
  1  failure                    5  the run failed
  2  unusable input             6  the run was stopped early
  3  no such run, file or name  7  the run was interrupted
130  left with Ctrl-C; a started run continues"""


class LazyGroup(click.Group):
    """Knows its commands' names and one-line helps; imports a command's module when it is chosen."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = KEYWORDS.get(cmd_name, cmd_name)
        module = importlib.import_module(f"tuner_tui.cli.{name}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(__version__, prog_name="tuner-tui")
@click.pass_context
def tuner_tui(context: click.Context) -> None:
    """Fine-tune language models on one home GPU, from a terminal.

    Without a command, the app starts.
    """
    _give_libraries_a_home()
    if context.invoked_subcommand is None:
        _go_on_with_bad_settings()
    if context.invoked_subcommand != "config":
        _heed_privacy()
    if context.invoked_subcommand is not None:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        click.echo(context.get_help())
        return
    from tuner_tui.ui.app import main_app

    main_app()


def _give_libraries_a_home() -> None:
    """A user of whom no home folder is known, but TUNER_TUI_HOME, has that one: the Hub's library looks for one."""
    import os
    from pathlib import Path

    home = os.environ.get("TUNER_TUI_HOME")
    if home and not os.environ.get("HOME") and Path("~") == Path(os.path.expanduser("~")):  # noqa: PTH111
        os.environ["HOME"] = str(Path(home).absolute())


def _go_on_with_bad_settings() -> None:
    """The app shows invalid settings, and stays usable."""
    from tuner_tui.config.settings import go_on_with_bad_settings

    go_on_with_bad_settings()


def _heed_privacy() -> None:
    """Libraries read the environment when they are loaded; nothing of theirs is loaded yet."""
    import os

    from tuner_tui.config.settings import read_settings

    if read_settings().switch("privacy.offline"):
        os.environ["HF_HUB_OFFLINE"] = "1"


def main() -> None:
    """The console script: runs a command and shows failures as errors."""
    try:
        code = tuner_tui(standalone_mode=False)  # what a command gave to `context.exit`
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output is gone
        sys.stderr.close()
        sys.exit(0)
    except TunerError as error:
        from tuner_tui.cli.output import fail

        fail(error)
        sys.exit(error.exit_code)
    except OSError as error:
        from tuner_tui.cli.output import fail

        fail(_system_error(error))
        sys.exit(1)
    except Exception as error:  # an internal error: shown in words, with its traceback in a file
        from tuner_tui.cli.output import fail

        fail(
            TunerError(
                "Internal error",
                f"{type(error).__name__}: {error}",
                f"No run is lost. Report this, with {_keep_traceback()}",
            )
        )
        sys.exit(1)


def _system_error(error: OSError) -> TunerError:
    """An error of the operating system in words; of a permission, with what on the way lacks it."""
    from pathlib import Path

    from tuner_tui.files import path_problem

    title = "The operating system reports an error"
    if not isinstance(error.filename, str):
        return TunerError(title, f"{error.strerror or error}.", "See: tuner-tui doctor")
    problem_text = path_problem(error, Path(error.filename))
    if isinstance(error, PermissionError):
        return TunerError(
            "Permission denied",
            f"{problem_text}.",
            "Its owner can give you access, for example with chmod g+rwX; or set TUNER_TUI_HOME to another folder.",
        )
    return TunerError(title, f"{problem_text}.", "See: tuner-tui doctor")


def _keep_traceback() -> str:
    """Where the details of the error in hand were written; the details themselves where nothing can be."""
    import time
    import traceback

    from tuner_tui.config import paths
    from tuner_tui.files import make_folder
    from tuner_tui.owned import open_own_log

    details = traceback.format_exc()
    try:
        path = paths.data_dir() / "fault.log"
        make_folder(path.parent)
        with open_own_log(path) as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{details}".encode())
    except (OSError, TunerError):  # no folder, or none that is known
        return details
    return str(path)
