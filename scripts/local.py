"""Trains and serves on this desk, through the image's own `train` and `serve`.

local.py train --data FOLDER     train/valid/test/<class>/<picture>; ends with where the model lies
local.py serve --model FOLDER    answers on the loopback address until Ctrl-C
local.py report --dir FOLDER     makes the report of a finished job anew
local.py engine                  prints the container client that would be used, or nothing
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from desk import DeskError, Stopped, raise_on_signals, run
from ways import OUT, choose_way, find_engine, lay_out, link

PAGE = {"CLASSIFIER_PAGE": "true"}  # a desk has people


def pairs(words: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE words as a dictionary."""
    for word in words:
        if word.find("=") < 1:
            raise DeskError(f"hyperparameter {word!r} is not NAME=VALUE, for example epochs=3")
    return dict(word.split("=", 1) for word in words)


def existing(path: str, option: str, what: str) -> Path:
    """An option's path, resolved, when something is there."""
    if not path or not Path(path).exists():
        raise DeskError(f"{option} must be {what}; {path!r} is not there")
    return Path(path).resolve()


def channels_of(data: str, pretrained: str) -> dict[str, Path]:
    """The channels of a training job: the pictures, and a pretrained backbone when one is given."""
    channels = {"training": existing(data, "--data (DATA)", "a folder of pictures")}
    if pretrained:
        channels["pretrained"] = existing(pretrained, "--pretrained (WEIGHTS)", "a file or folder of weights")
    return channels


def new_base() -> Path:
    """A new base directory, so that no job loses an earlier one's model; out/train leads to the last."""
    base = OUT / time.strftime("train-%Y%m%d-%H%M%S")
    base.mkdir(parents=True, exist_ok=True)
    link(OUT / "train", base)
    return base


def given_base(path: str) -> Path:
    """The user's own base directory: laying it out removes what lies there, so it must be empty or an earlier job's."""
    base = Path(path).resolve()
    if base.exists() and any(base.iterdir()) and not (base / "input" / "config").is_dir():
        raise DeskError(f"--base-dir {path} holds other files; give an empty directory, or that of an earlier job")
    return base


def train(options: argparse.Namespace) -> int:
    """Lay out a base directory, train in it, and say where the model is."""
    channels = channels_of(options.data, options.pretrained)
    hyperparameters = pairs(options.hyperparameter)
    way = choose_way()
    base = given_base(options.base_dir) if options.base_dir else new_base()
    lay_out(base, hyperparameters, channels, way.host)
    print(f"training {way.description}; base directory {base}", flush=True)
    code = run(way.train(base, channels))
    print(f"model: {base / 'model'}" if code == 0 else f"`train` failed with exit code {code}", flush=True)
    return code


def serve(options: argparse.Namespace) -> int:
    """Serve a model directory until Ctrl-C or SIGTERM."""
    model = existing(options.model, "--model (MODEL)", "a model directory made by `train`")
    way = choose_way()
    print(f"serving {way.description} on http://127.0.0.1:{options.port}; Ctrl-C stops it", flush=True)
    return run(way.serve(model, options.port, PAGE))


def report(options: argparse.Namespace) -> int:
    """Make the report of a job's output anew, and say where it is."""
    directory = existing(options.dir, "--dir (DIR)", "the output of a training job")
    return run(choose_way().report(directory))


def engine(_: argparse.Namespace) -> int:
    """Print the client of the container engine, or nothing."""
    print(find_engine() or "")
    return 0


def options_of(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="local.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="train|serve|report|engine")

    def command(name: str, action: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=action.__doc__, description=action.__doc__)
        sub.set_defaults(action=action)
        return sub

    training = command("train", train)
    training.add_argument("--data", required=True, help="folder with train/, valid/ and test/")
    training.add_argument("--pretrained", default="", help="file or folder with a pretrained backbone")
    training.add_argument(
        "--base-dir", help="in the place of /opt/ml; unless given a new one, which out/train leads to"
    )
    training.add_argument("--hyperparameter", action="append", default=[], metavar="NAME=VALUE")
    serving = command("serve", serve)
    serving.add_argument("--model", required=True, help="model directory, for example out/demo/model")
    serving.add_argument("--port", type=int, default=8080)
    reporting = command("report", report)
    reporting.add_argument("--dir", required=True, help="output of a job, for example out/demo/output")
    command("engine", engine)
    return parser.parse_args(argv)


def main() -> int:
    """Run one subcommand; a user's error is one sentence."""
    raise_on_signals()
    try:
        options = options_of(sys.argv[1:])
        return int(options.action(options))
    except (DeskError, OSError) as error:
        print(f"local.py: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        return stopped.exit_code


if __name__ == "__main__":
    sys.exit(main())
