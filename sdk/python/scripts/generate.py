"""Makes what nobody should write by hand:

- ``models.py`` and ``types.py`` from the hub's OpenAPI document, ``docs/openapi.json``;
- ``_sync/`` from ``_async/``: the same code without ``async`` and ``await``;
- ``docs/reference.md`` from the methods' signatures and docstrings.

``generate.py`` writes them; ``generate.py --check`` says which are not as they would be written.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Dict, List, Union

import from_openapi

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "kubeedge_cloudcore"
DOCUMENT = ROOT.parent.parent / "docs" / "openapi.json"

ROOMS = ["devices", "commands", "monitoring", "tokens", "apps", "access", "hub"]
REFERENCE_HEAD = """# Reference

Made by scripts/generate.py from the source: do not edit. `AsyncCloudCoreClient` has the same
methods, to be awaited; those that give a stream are not awaited, but gone over by `async for`.
Answers are in [models.py](../src/kubeedge_cloudcore/models.py), events in
[events.py](../src/kubeedge_cloudcore/events.py), types of arguments in
[types.py](../src/kubeedge_cloudcore/types.py).
"""

# Whole words of the async source, and what they are without it. The first that fits counts.
WITHOUT_ASYNC = [
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b__a(enter|exit|iter)__\b", r"__\1__"),
    (r"\b__anext__\b", "__next__"),
    (r"\ba(close|read|iter_bytes)\b", r"\1"),
    (r"\bAsyncGenerator\[([\w.]+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsyncGenerator\b", "Generator"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\bhttpx\.AsyncClient\b", "httpx.Client"),
    (r"\bhttpx\.AsyncBaseTransport\b", "httpx.BaseTransport"),
]


def without_async(source: str) -> str:
    """The same code for who blocks."""
    for pattern, replacement in WITHOUT_ASYNC:
        source = re.sub(pattern, replacement, source)
    return source


def formatted(source: str) -> str:
    """As ruff formats it, with imports in order."""
    here = [sys.executable, "-m", "ruff"]
    name = ["--stdin-filename", str(PACKAGE / "generated.py")]
    for command in (["check", "--fix", "--quiet", "--select", "I,F401"], ["format", "--quiet"]):
        done = subprocess.run(
            [*here, *command, *name, "-"],
            input=source,
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        if done.returncode != 0:
            raise SystemExit(done.stdout + done.stderr)
        source = done.stdout
    return source


def marked(docstring: str, source: str) -> str:
    """With a head that says where it comes from."""
    return f'"""{docstring}\n\nMade by scripts/generate.py: do not edit.\n"""\n\n{source}'


def reference() -> str:
    """All methods, by room, from the source: what is not written yet can't be imported."""
    parts = [REFERENCE_HEAD]
    for name in ROOMS:
        path = PACKAGE / "_async" / f"{name}.py"
        for room in ast.parse(path.read_text()).body:
            if not isinstance(room, ast.ClassDef) or room.name.startswith("_"):
                continue
            parts.append(f"\n## {name.capitalize()}\n")
            for method in room.body:
                if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    parts.append(_entry(method))
    return "".join(parts)


def _entry(method: Union[ast.FunctionDef, ast.AsyncFunctionDef]) -> str:
    said = ast.get_docstring(method)
    if method.name.startswith("_") or said is None:
        return ""
    method.args.args = method.args.args[1:]
    returns = ast.unparse(method.returns) if method.returns else "None"
    signature = f"{method.name}({ast.unparse(method.args)}) -> {without_async(returns)}"
    said = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", said).replace("``", "`")
    # Sections of a docstring as lists, each item of one line.
    said = re.sub(r"\n +(?=[a-z])(?!\w+: )", " ", said)
    said = re.sub(r"^Args:$", "", said, flags=re.MULTILINE)
    said = re.sub(r"^Raises:$", "Raises:\n", said, flags=re.MULTILINE)
    said = re.sub(r"^    (\w+): ", r"- `\1`: ", said, flags=re.MULTILINE)
    said = re.sub(r"\n{3,}", "\n\n", said)
    return f"\n### {method.name}\n```text\n{signature}\n```\n{said}\n"


def generated() -> Dict[Path, str]:
    """All generated files, and what is to be in them."""
    files: Dict[Path, str] = {}
    if DOCUMENT.exists():
        document = from_openapi.Document(DOCUMENT)
        files[PACKAGE / "models.py"] = formatted(document.models())
        files[PACKAGE / "types.py"] = formatted(document.types())
    for path in sorted((PACKAGE / "_async").glob("*.py")):
        if path.name in ("_io.py", "__init__.py"):
            continue
        docstring, rest = re.fullmatch(r'"""(.*?)"""\n(.*)', path.read_text(), re.DOTALL).groups()  # type: ignore[union-attr]
        source = marked(docstring.strip(), without_async(rest.lstrip()))
        files[PACKAGE / "_sync" / path.name] = formatted(source)
    files[ROOT / "docs" / "reference.md"] = reference()
    return files


def main() -> None:
    """Writes, or checks."""
    check = sys.argv[1:] == ["--check"]
    stale: List[str] = []
    files = generated()
    for path, text in files.items():
        if not path.exists() or path.read_text() != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(text)
    kept = {"_io.py", "__init__.py"}
    for path in (PACKAGE / "_sync").glob("*.py"):
        if path not in files and path.name not in kept:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.unlink()
    if stale:
        print(textwrap.indent("\n".join(stale), "  "))
    if check and stale:
        raise SystemExit("these are not as scripts/generate.py writes them: run it")


if __name__ == "__main__":
    main()
