"""Error against steps of every ODE sampler on exactly known flows, and its order.

Writes a figure and a table for two problems, a Gaussian and a mixture of two, from
sigma / alpha = 8 to 0.1 in equal steps of log-SNR. The error is the RMS over the points.
"""

import argparse
import sys
from pathlib import Path

import matplotlib

from wavediff.cli import run
from wavediff.commands.arguments import positive_int
from wavediff.files import atomic_path

# the exact problems are those of the tests
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "diffusion"))
from orders import ODE, PATHS, PROBLEMS, errors, slope

matplotlib.use("Agg")
from matplotlib import pyplot as plt

STEPS = [64, 128, 256, 512, 1024]
TITLES = {
    "vp": "variance-preserving", "subvp": "sub-VP", "ve": "variance-exploding", "edm": "EDM",
    "flow": "rectified flow",
}  # fmt: skip
COLOURS = ["#4477aa", "#ee6677", "#228833", "#aa3377", "#ccbb44"]
MARKERS = ["o", "s", "^", "D", "v"]
TOLERANCE = 0.1

Measured = dict[tuple[str, str, str], list[float]]  # (sampler, path, problem) -> errors


def measure(paths: list[str], steps: list[int]) -> Measured:
    """Errors of every sampler on every problem, for each number of steps."""
    cases = [(name, path, problem) for path in paths for problem in PROBLEMS for name in ODE]
    return {case: errors(*case, steps) for case in cases}


def draw(measured: Measured, paths: list[str], steps: list[int], output: Path) -> None:
    """Plot a panel for each path and problem, with the orders in its legend."""
    figure, axes = plt.subplots(
        len(PROBLEMS),
        len(paths),
        figsize=(3.6 * len(paths) + 0.8, 7.2),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for row, problem in enumerate(PROBLEMS):
        lowest = min(measured[name, path, problem][-1] for name in ODE for path in paths)
        for column, path in enumerate(paths):
            axis = axes[row, column]
            for (name, (_, order)), colour, marker in zip(
                ODE.items(), COLOURS, MARKERS, strict=False
            ):
                missed = measured[name, path, problem]
                label = f"{name}  {slope(steps, missed):.2f}  ({order})"
                axis.loglog(steps, missed, marker=marker, color=colour, markersize=4, label=label)
            axis.set_title(f"{TITLES[path]}, {problem}", fontsize=10)
            axis.set_xticks(steps, [str(n) for n in steps])
            axis.set_ylim(bottom=lowest / 3000)  # room for the legend
            axis.minorticks_off()
            axis.grid(alpha=0.25)
            axis.legend(
                fontsize=7.5, loc="lower left", title="measured (nominal)", title_fontsize=7.5
            )
            if column == 0:
                axis.set_ylabel("RMS error of the flow")
            if row == len(PROBLEMS) - 1:
                axis.set_xlabel("steps")
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


def table(measured: Measured, paths: list[str], steps: list[int], command: str) -> str:
    """Markdown page: nominal and measured orders, and the error at the largest number of steps."""
    cases = [(path, problem) for path in paths for problem in PROBLEMS]
    head = [
        "sampler",
        "calls a step",
        "nominal",
        *(f"{path}, {problem}" for path, problem in cases),
    ]
    lines = [
        "# Orders of the ODE samplers",
        "",
        "![error against steps](orders.png)",
        "",
        "Data whose optimal denoiser and probability flow are known exactly, in double precision:",
        "a Gaussian of three unequal variances and a mixture of two. From sigma / alpha = 8 to 0.1",
        f"in {steps[0]} to {steps[-1]} equal steps of log-SNR. The order is the slope of the log",
        "of the root mean square error over that of the steps; in brackets stands the error at",
        f"{steps[-1]} steps.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for name, (sampler, order) in ODE.items():
        cells = [
            f"{slope(steps, measured[name, path, problem]):.3f} "
            f"({measured[name, path, problem][-1]:.1e})"
            for path, problem in cases
        ]
        calls = sampler([1.0, 0.0]).method.calls
        lines.append("| " + " | ".join([name, str(calls), str(order), *cells]) + " |")
    lines += [
        "",
        "The exponential integrators (dpmpp_2m, dpmpp_3s, unipc) only see the log-SNR, so a path",
        "changes nothing for them but the scale of the state. `adaptive` has no steps to count: it",
        "keeps a tolerance.",
        "",
        "Made by",
        "",
        f"    {command}",
        "",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; exit code 1 if an order is not within 0.1 of its nominal value."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs"), help="(default: docs)")
    parser.add_argument("--steps", type=positive_int, nargs="+", default=STEPS, metavar="N")
    parser.add_argument("--paths", nargs="+", choices=list(PATHS), default=["vp", "edm", "flow"])
    options = parser.parse_args(argv)
    if len(options.steps) < 2:
        parser.error("an order needs two or more numbers of steps")
    measured = measure(options.paths, options.steps)
    draw(measured, options.paths, options.steps, options.output / "orders.png")
    arguments = sys.argv[1:] if argv is None else argv
    command = " ".join(["python tools/order_plot.py", *arguments])
    page = table(measured, options.paths, options.steps, command)
    with atomic_path(options.output / "orders.md") as temporary:
        temporary.write_text(page)
    wrong = 0
    for (name, path, problem), missed in measured.items():
        order = slope(options.steps, missed)
        if abs(order - ODE[name][1]) > TOLERANCE:
            print(f"{name} on {path}, {problem}: {order:.3f}, not {ODE[name][1]}", file=sys.stderr)
            wrong = 1
    print(options.output / "orders.md")
    return wrong


if __name__ == "__main__":
    sys.exit(run(main))
