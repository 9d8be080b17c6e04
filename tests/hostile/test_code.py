"""What the package's own code may not say, because a file from elsewhere would run, or a message lie."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lrelu_bench

PACKAGE = Path(lrelu_bench.__file__).parent
SOURCES = sorted(path for path in PACKAGE.rglob("*.py"))
NEVER = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "dill.load"),
    *("shelve.open", "joblib.load", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"),
    *("yaml.safe_load", "yaml.safe_load_all"),  # which follow aliases to the end
    *("yaml.UnsafeLoader", "yaml.FullLoader", "yaml.Loader", "np.fromregex", "os.system", "os.popen"),
    *("eval", "exec", "compile", "__import__", "torch.jit.load", "torch.hub.load", "pandas.read_pickle"),
}
UNLESS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
"""What is fine with this argument alone, written out: what is the default changes with versions."""


def faults(tree: ast.AST) -> Iterator[str]:
    """A sentence on each thing in the code that may not be there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from faults_of(node)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in NEVER:
            yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            if {"pickle", "marshal", "shelve", "dill", "joblib"} & {name.partition(".")[0] for name in names}:
                yield f"line {node.lineno}: {ast.unparse(node)}"


def faults_of(call: ast.Call) -> Iterator[str]:
    """The same of a call."""
    name = ast.unparse(call.func)
    given = {word.arg: word.value for word in call.keywords}
    if name in NEVER:
        yield f"line {call.lineno}: {name}"
    for function, (argument, value) in UNLESS.items():
        told = given.get(argument)
        if name == function and not (isinstance(told, ast.Constant) and told.value is value):
            yield f"line {call.lineno}: {name} without {argument}={value}"
    shell = given.get("shell")
    if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
        yield f"line {call.lineno}: a shell"
    if name.endswith("Environment") and "jinja" not in name and "loader" in given:
        escape = given.get("autoescape")
        if not (isinstance(escape, ast.Constant) and escape.value is True):
            yield f"line {call.lineno}: a page without autoescape"
    # Lines given one by one are told apart from a line break in a name.
    if name == "BenchError" and any('"\\n"' in ast.unparse(one).replace("'", '"') for one in call.args):
        yield f"line {call.lineno}: lines joined in one sentence of an error; give them one by one"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_of_a_user_is_run(path):
    assert list(faults(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "code",
    [
        "pickle.loads(x)",
        "import pickle",
        "from pickle import loads",
        "yaml.load(x, yaml.SafeLoader)",
        "yaml.Loader",
        "yaml.safe_load(x)",
        "eval(x)",
        "exec(x)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(x, shell=True)",
        "Environment(loader=x)",
        "Environment(loader=x, autoescape=False)",
        'BenchError("\\n".join(lines))',
    ],
)
def test_what_would_be_a_fault_is_seen(code):
    assert list(faults(ast.parse(code)))


def test_what_is_fine_is_let_be():
    fine = "torch.load(f, weights_only=True); np.load(f, allow_pickle=False); model.eval(); re.compile(x)"
    assert list(faults(ast.parse(fine))) == []
    assert len(SOURCES) > 100
