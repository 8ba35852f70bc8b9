"""``python -m medgan_lib``: what the library does from a shell. ``--help`` of each command says what it takes."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from medgan_lib import __version__

CODES = """\
exit status: 0 done; 2 the command or the data can't be used; 1 it failed on the way (disk full, memory, a loss that
isn't finite); 130 Ctrl-C. What was trained until then is kept, and --resume goes on from there."""

TRANSLATE = """\
Trains a network that turns images of DIR/A into images of DIR/B, and translates those that were not trained on.

DIR/A and DIR/B hold NIfTI, DICOM (a folder for each series), PNG, JPEG, TIFF or npz files. pix2pix needs pairs: files
of equal name in A and B, which show the same thing at the same size. cyclegan takes any images; of pairs, half of the
subjects give only their A and the others only their B. Volumes are taken as axial slices unless --three-d is given."""

RESULTS = """\
what comes out:
  outputs/       the translation of every image that was not trained on, in the units of the target, with the geometry
                 of its input: NIfTI for NIfTI and DICOM, 16-bit PNG for grey pictures
  previews/      input, output, reference and their difference, side by side
  metrics.json   scores of the method, and of the identity: the input, rescaled to the target's window
  report.html    both on one page
  checkpoint.pt  the networks
"""


def whole(low: int, step: int = 1) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not re.fullmatch("[0-9]+", text) or int(text) < low or int(text) % step:
            kind = "whole number" if step == 1 else f"multiple of {step}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a {kind} of at least {low}")
        return int(text)

    return number


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m medgan_lib", description="What the library does from a shell.")
    top.add_argument("--version", action="version", version=f"medgan_lib {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    sub = commands.add_parser(
        "translate",
        help="train a translation between two folders of your own images, and apply it",
        description=TRANSLATE,
        epilog=RESULTS + "\n" + CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument("--method", required=True, choices=("pix2pix", "cyclegan"), help="pairs, or any images")
    sub.add_argument("--data", required=True, type=Path, metavar="DIR", help="the folder that holds A/ and B/")
    sub.add_argument("--out", required=True, type=Path, metavar="OUT", help="a new folder for all that comes out")
    sub.add_argument("--resume", action="store_true", help="go on with the run in OUT, or finish its results again")
    sub.add_argument("--direction", choices=("a2b", "b2a"), default="a2b", help="which way (a2b)")
    sub.add_argument("--also", type=Path, metavar="DIR", help="a folder of more images to translate when trained")
    sub.add_argument("--three-d", action="store_true", help="whole volumes instead of slices; for small ones")
    sub.add_argument("--steps", type=whole(1), metavar="N", default=2000, help="training steps (2000)")
    sub.add_argument("--batch-size", type=whole(1), metavar="N", help="images a step (8; 1 with --three-d)")
    sub.add_argument("--size", type=whole(8, 8), metavar="N", help="resample to N pixels a side (own size)")
    sub.add_argument("--width", type=whole(1), metavar="N", default=32, help="channels of the networks (32)")
    sub.add_argument("--seed", type=whole(0), metavar="N", default=0, help="of all that is random (0)")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (auto)")
    return top


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    import torch  # slow to import, and not needed for --help

    from medgan_lib.own_images import translate
    from medgan_lib.own_images.task import Options

    fields = {name: value for name, value in vars(options).items() if name != "command"}
    again = f"python -m medgan_lib {' '.join(map(shlex.quote, arguments or sys.argv[1:]))}"
    again += "" if options.resume else " --resume"
    try:
        translate.run(Options(**fields))
    except KeyboardInterrupt as stop:
        where = f": {str(stop).partition(';')[0]}" if str(stop) else ""
        print(f"\nInterrupted{where}. To go on: {again}", file=sys.stderr)
        return 130
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{place}. When that is solved: {again}", file=sys.stderr)
        return 1
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)):
            raise
        print("error: out of memory; choose a smaller --batch-size, --width or --size", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while torch is imported
        sys.exit(130)
