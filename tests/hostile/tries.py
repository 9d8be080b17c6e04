"""One try of each kind: hostile input laid out in a folder, and a command line that reads it."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from hostile import mutators, values
from hostile.sandbox import Outcome, Sandbox
from lrelu_bench.checkpoint_header import MAGIC
from lrelu_bench.run_folder import CHECKPOINTS

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
RESULTS = ROOT / "results"
FIXTURES = ROOT / "tests" / "fixtures"
CLAIMS = ROOT / "lrelu_bench" / "reference" / "claims.yaml"
BOARD = ROOT / "lrelu_bench" / "reference" / "leaderboard_history.csv"
SEEDS = 3
OUTPUT = "out"
_DRY = ("--dry-run", "--device", "cpu", "--output", OUTPUT)
BESIDE = "outside"
"""What no command has any business with."""


@dataclass(frozen=True)
class Bench:
    """Where tries are laid out, one after another."""

    folder: Path
    caches: Path
    """Of the libraries; outlasts the tries."""

    @property
    def home(self) -> Path:
        """The folder that the commands run in."""
        return self.folder / "home"

    @property
    def sandbox(self) -> Sandbox:
        """Where a command may write below `home/out` alone."""
        return Sandbox(self.home, [self.home / OUTPUT], self.caches)

    def cleared(self) -> Path:
        """The home, empty but for what lies beside."""
        if self.home.exists():
            shutil.rmtree(self.home)
        (self.home / BESIDE).mkdir(parents=True)
        (self.home / OUTPUT).mkdir()
        (self.caches).mkdir(exist_ok=True)
        return self.home


@cache
def _runs() -> tuple[Path, ...]:
    """Whole runs of two activations with telemetry and predictions, and one of a larger net."""
    small = [
        RESULTS / experiment.name / f"seed-{seed}"
        for experiment in sorted(RESULTS.glob("mnist-*"))
        if "learned_relu_v3" in experiment.name or "-relu-" in experiment.name
        for seed in range(SEEDS)
    ]
    return (*small, *sorted(RESULTS.glob("imagewoof-v1-*-relu-*/seed-0")))


def warm(bench: Bench) -> None:
    """Import, and build the caches of libraries: that is of no input's time, memory or doing."""
    bench.cleared()
    runs = lay_out_runs(bench)
    for line in (
        *(
            ("run", name, "--dry-run", "--device", "cpu", "--output", OUTPUT)
            for name in ("quickstart", "mnist")
        ),
        ("inspect", os.path.relpath(runs[0], bench.home), "--plot", OUTPUT),
        ("export", "results", "--tracker", "tensorboard", "--output", f"{OUTPUT}/exported"),
        ("report", "results", "--output", f"{OUTPUT}/report.html"),
    ):
        bench.sandbox.call(*line, seconds=300)


def lay_out_runs(bench: Bench) -> list[Path]:
    """Copies of the runs below `home/results`; their files are links, to be replaced, never written to."""
    folders = []
    for run in _runs():
        original = bench.folder / "originals" / run.parent.name / run.name
        if not original.exists():
            shutil.copytree(run, original)
        folder = bench.home / "results" / run.parent.name / run.name
        shutil.copytree(original, folder, copy_function=os.link)
        folders.append(folder)
    return folders


def _replaced(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def config(random: Random, bench: Bench) -> Outcome:
    """A mutated experiment, shown to `validate`, `config show` or `run --dry-run`."""
    home = bench.cleared()
    path = home / "experiment.yaml"
    text = random.choice(sorted(CONFIGS.glob("*.yaml"))).read_text()
    if random.random() < 0.3:
        text = (random.choice(_runs()) / "config.yaml").read_text()
    if random.random() < 0.04:
        mutators.not_a_file(random, path)
    else:
        path.write_bytes(mutators.yaml_text(random, text))
    way = random.random()
    changes: list[str] = []
    if random.random() < 0.1:
        key = random.choice(
            ["lr", "activation.leak", "activation.options.x", "recipe.mean[0]", "seeds", "a.b.c", ""]
        )
        changes = ["--set", f"{key}={random.choice(values.NAMES)}".replace("\x00", "0")]
    if way < 0.75:
        return bench.sandbox.call("validate", path.name, *changes)
    if way < 0.9:
        return bench.sandbox.call("config", "show", path.name, *changes)
    # One small net, whatever the file says, where it says anything that can be run.
    return bench.sandbox.call("run", path.name, *_DRY, *changes)


_MUTATORS: dict[str, Callable[[Random, str], bytes]] = {
    "result.json": mutators.json_text,
    "environment.json": mutators.json_text,
    "epochs.jsonl": mutators.json_lines,
    "config.yaml": mutators.yaml_text,
}
_FILES = (
    "result.json",
    "result.json",
    "epochs.jsonl",
    "environment.json",
    "config.yaml",
    "predictions.npz",
    "telemetry.npz",
)


def results(random: Random, bench: Bench) -> Outcome:
    """A results folder with files mutated, gone or no files, read by every command that reads results."""
    home = bench.cleared()
    folders = lay_out_runs(bench)
    for _ in range(random.choice([1, 1, 2, 3, 6])):
        name = random.choice(_FILES)
        # The same in all seeds of an experiment may get further than in one, whose row is then another.
        some = [random.choice(folders)]
        if random.random() < 0.3:
            some = [one for one in folders if one.parent == some[0].parent]
        state = random.getstate()
        for folder in some:
            random.setstate(state)
            _mutate(random, folder / name)
    if random.random() < 0.05:
        _odd_tree(random, home / "results")
    return bench.sandbox.call(*_reading(random, folders), codes=(0, 2, 4))


def _mutate(random: Random, path: Path) -> None:
    if path.is_symlink() or (path.exists() and (not path.is_file() or path.stat().st_size > 10**6)):
        return  # no file any more
    if not path.exists() or random.random() < 0.08:
        mutators.not_a_file(random, path)
    elif path.suffix == ".npz":
        content = path.read_bytes()
        try:
            content = mutators.archive(random, content)
        except Exception:
            content = mutators.damaged(random, content)
        _replaced(path, content)
    else:
        text = path.read_bytes().decode("utf-8", errors="replace")
        try:
            content = _MUTATORS[path.name](random, text)
        except (ValueError, IndexError, RecursionError):  # it was mutated before, beyond reading
            content = mutators.damaged(random, text.encode())
        _replaced(path, content)


def _odd_tree(random: Random, root: Path) -> None:
    way = random.randrange(5)
    if way == 0:
        (root / "loop").symlink_to(root, target_is_directory=True)
    elif way == 1:
        deep = root.joinpath(*["deep"] * 200)
        deep.mkdir(parents=True)
        (deep / "result.json").write_text("{}")
    elif way == 2:
        for number in range(500):
            (root / f"many-{number}").mkdir()
            (root / f"many-{number}" / "result.json").write_text("{")
    elif way == 3:
        shutil.copytree(_runs()[0], root / _file_name(random) / "seed-0", dirs_exist_ok=True)
    else:
        (root / "result.json").write_text(json.dumps(values.value(random)))


def _file_name(random: Random) -> str:
    """A name that a folder can have."""
    named = [name for name in values.NAMES if name.strip(".") and "/" not in name and "\x00" not in name]
    return random.choice(named)[:60].encode(errors="replace").decode()


_GATES = (["--fail-below", "50"], ["--require", "better"], ["--baseline", "learned_relu_v3"])


def _reading(random: Random, folders: list[Path]) -> list[str]:
    command = random.choice([*["compare"] * 5, *["report", "claims", "inspect"] * 2, "plot", "export"])
    run = os.path.relpath(random.choice(folders), folders[0].parents[2])
    where = "results" if random.random() < 0.8 else run
    if command == "compare":
        form = random.choice(["table", "md", "latex", "csv", "json", "html"])
        file = ["--output", f"{OUTPUT}/comparison"] if random.random() < 0.3 else []
        gate = random.choice([[], [], *_GATES])
        return ["compare", where, "--format", form, *file, *gate]
    if command == "report":
        return ["report", where, "--output", f"{OUTPUT}/report.html"]
    if command == "claims":
        return ["claims", where, "--format", random.choice(["table", "md", "json"])]
    if command == "inspect":
        return ["inspect", run]
    if command == "plot":
        return ["inspect", run, "--plot", f"{OUTPUT}/pictures", "--format", "svg"]
    return ["export", where, "--tracker", "tensorboard", "--output", f"{OUTPUT}/exported"]


def taken(random: Random, bench: Bench) -> Outcome:
    """A run's folder as a later command finds it: files mutated, checkpoints and locks that are none."""
    home = bench.cleared()
    run = random.choice(lay_out_runs(bench)[: 2 * SEEDS])
    config = shutil.copy(run / "config.yaml", home / "experiment.yaml")
    for _ in range(random.choice([1, 1, 2, 4])):
        _mutate(random, run / random.choice(_FILES))
    if random.random() < 0.7:
        name = random.choice(
            [*CHECKPOINTS, f"../.{run.name}.lock", f"../.{run.name}.new", f"../.{run.name}.old"]
        )
        way = random.random()
        if way < 0.3:
            mutators.not_a_file(random, run / name)
        elif way < 0.6:
            (run / name).write_bytes(_checkpoint(random))
        else:
            shutil.copytree(run, home / "copied", symlinks=True, copy_function=_linked)
            (home / "copied").rename(run / name)
    seed = run.name.removeprefix("seed-")
    # Where a run may have been killed, a lock is taken to see.
    sandbox = Sandbox(home, [home / "results"], bench.caches)
    return sandbox.call("run", Path(config).name, *_DRY[:-1], "results", "--seed", seed)


def _linked(source: str, target: str) -> None:
    if Path(source).is_file():
        os.link(source, target, follow_symlinks=False)


def _checkpoint(random: Random) -> bytes:
    """What begins as a checkpoint does and goes on as none."""
    about = {"number": 1, "epoch": 1, "step": 0, "identity": {"config": _ALIASES, "code": "x", "data": "y"}}
    line = values.as_json(values.mutated(random, about) if random.random() < 0.7 else about)
    content = MAGIC + b"0" * 64 + b"\n" + line + b"\n" + pickle.dumps(mutators.Boom())
    return mutators.damaged(random, content) if random.random() < 0.3 else content


_ALIASES = "a: &a [x, x]\n" + "".join(
    f"b{i}: &b{i} [*{'a' if not i else f'b{i - 1}'}, *a]\n" for i in range(60)
)


def readme(random: Random, bench: Bench) -> Outcome:
    """A mutated README of the board, imported."""
    home = bench.cleared()
    path = home / "README.md"
    text = (FIXTURES / random.choice(["upstream_2019.md", "upstream_2022.md"])).read_text()
    if random.random() < 0.04:
        mutators.not_a_file(random, path)
    else:
        path.write_bytes(_markdown(random, text))
    options = [
        "--date",
        random.choice(["2023-02-01", "2019-04-16", "2022-09-27", "0001-01-01", "9999-12-31", "x"]),
    ]
    output = f"{OUTPUT}/history.csv"
    written = bench.sandbox.call("leaderboard", "import", path.name, *options, "--output", output)
    if written.code or written.problems:
        return written
    # What was written is read again.
    form = random.choice(["table", "md", "csv", "json"])
    history = ["--history"] if random.random() < 0.3 else []
    return bench.sandbox.call("leaderboard", "--format", form, *history, LRELU_BENCH_BOARD=output)


def _markdown(random: Random, text: str) -> bytes:
    way = random.randrange(8)
    if way == 0:
        return random.choice(
            [b"", b"|" * 1_000_000, b"|\n" * 300_000, b"[" * 100_000 + b"|", b"# Imagewoof\n|-|\n"]
        )
    if way == 1:
        return mutators.damaged(random, text.encode())
    lines = text.splitlines()
    for _ in range(random.choice([1, 3, 10])):
        place = random.randrange(len(lines))
        cells = lines[place].split("|")
        change = random.randrange(6)
        if change <= 3:
            cells[random.randrange(len(cells))] = random.choice(
                [
                    random.choice(values.NAMES),
                    str(random.choice(values.NUMBERS)),
                    f"[{random.choice(values.NAMES)}](x)",
                ]
            )
            lines[place] = "|".join(cells)
        elif change == 4:
            lines.insert(place, lines[random.randrange(len(lines))])
        else:
            lines.pop(place)
            lines = lines or [""]
    return "\n".join(lines).encode(errors="surrogatepass")


def claims(random: Random, bench: Bench) -> Outcome:
    """A mutated file of claims, judged by whole runs."""
    home = bench.cleared()
    lay_out_runs(bench)
    path = home / "claims.yaml"
    if random.random() < 0.04:
        mutators.not_a_file(random, path)
    else:
        path.write_bytes(mutators.yaml_text(random, random.choice([CLAIMS.read_text(), _OWN_CLAIMS])))
    form = random.choice(["table", "md", "json"])
    return bench.sandbox.call("claims", "results", "--claims", path.name, "--format", form)


_OWN_CLAIMS = """\
- id: mine
  said: learned beats plain
  dataset: mnist-t10k
  size: 28
  epochs: 8
  activation: [learned_relu_v3, learned_relu]
  beats: relu
  by: 0.1
  smoother_than: relu
  sooner_than: relu
  reaches: 97
"""


def board(random: Random, bench: Bench) -> Outcome:
    """A mutated history of the board, drawn, or beside runs."""
    home = bench.cleared()
    path = home / "board.csv"
    text = random.choice([BOARD, FIXTURES / "board_history.csv"]).read_text()
    if random.random() < 0.04:
        mutators.not_a_file(random, path)
    elif random.random() < 0.2:
        path.write_bytes(mutators.damaged(random, text.encode()))
    else:
        lines = text.splitlines()
        for _ in range(random.choice([1, 3])):
            place = random.randrange(len(lines))
            cells = lines[place].split(",")
            cells[random.randrange(len(cells))] = random.choice([*values.NAMES, *map(str, values.NUMBERS)])
            lines[place] = ",".join(cells)
        path.write_bytes("\n".join(lines).encode(errors="surrogatepass"))
    if random.random() < 0.3:
        lay_out_runs(bench)
        form = random.choice(["table", "md", "latex", "csv", "json", "html"])
        return bench.sandbox.call("compare", "results", "--format", form, LRELU_BENCH_BOARD=path.name)
    arguments = ["--format", random.choice(["table", "md", "csv", "json"])]
    arguments += random.choice(
        [[], ["--history"], ["--dataset", "imagewoof"], ["--date", "2019-04-16"], ["--size", "128"]]
    )
    return bench.sandbox.call("leaderboard", *arguments, LRELU_BENCH_BOARD=path.name)


def names(random: Random, bench: Bench) -> Outcome:
    """Odd words on the command line, for paths, names and numbers; there may be a file of that name."""
    home = bench.cleared()
    word = random.choice([name for name in values.NAMES if "\x00" not in name])
    word = word.encode(errors="replace").decode()
    if random.random() < 0.5:
        word = _file_name(random)
        if random.random() < 0.5:
            (home / word).write_text("dataset: x\n")
        else:
            shutil.copytree(_runs()[0], home / word)
    if word.startswith("-"):
        word = f"./{word}"
    line = random.choice(
        [
            ["validate", word],
            ["config", "show", word],
            ["config", "show", "quickstart", "--set", f"{word}={word}"],
            ["config", "show", "quickstart", "--set", f"activation={word}"],
            ["run", "quickstart", "--dry-run", "--device", "cpu", "--seeds", word],
            ["compare", word],
            ["compare", word, "--baseline", word],
            ["compare", word, "--format", word],
            ["report", word, "--output", f"{OUTPUT}/{word.replace('/', '_')}"],
            ["claims", word, "--claims", word],
            ["inspect", word],
            ["inspect", word, "--plot", f"{OUTPUT}/{word.replace('/', '_')}"],
            ["export", word, "--tracker", "tensorboard", "--output", f"{OUTPUT}/{word.replace('/', '_')}"],
            ["list", word],
            ["leaderboard", "--date", word],
            ["leaderboard", "import", word, "--date", "2023-02-01"],
            ["leaderboard", "import", word],
            ["data", "fetch", f"x{word}"],
            ["data", "verify", f"x{word}"],
            [word],
        ]
    )
    return bench.sandbox.call(*line)


KINDS: dict[str, Callable[[Random, Bench], Outcome]] = {
    one.__name__: one for one in (config, results, taken, readme, claims, board, names)
}
