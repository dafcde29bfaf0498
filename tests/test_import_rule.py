"""Imports point one way, Ray stays in cluster/, and nothing needs a GPU until it is asked for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "kernels": ("mattemill.pipeline", "mattemill.cluster", "ray"),
    "pipeline": ("mattemill.cluster", "ray"),
    "cluster": (),
}
GPU_ONLY = ("tensorrt", "tensorrt_rtx", "tensorrt_lean", "pycuda", "cuda", "cupy", "torch")


def modules(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that the nodes of a tree import, relative ones made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def at_import(tree: ast.Module) -> ast.Module:
    """The module without the bodies of its functions and without `if TYPE_CHECKING`: what runs when it is imported."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

        def visit_If(self, node: ast.If) -> ast.AST | None:
            if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                return None
            return self.generic_visit(node)

    stripped = Strip().visit(tree)
    assert isinstance(stripped, ast.Module)
    return stripped


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts[:-1]
    return ".".join(("mattemill", *parts))


def breaches(source: str, package: str, forbidden: tuple[str, ...], *, only_at_import: bool = False) -> list[str]:
    tree = ast.parse(source)
    names = imported(at_import(tree) if only_at_import else tree, package)
    return sorted({name for name in names for bad in forbidden if name == bad or name.startswith(f"{bad}.")})


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_from_cluster_to_pipeline_to_kernels_and_never_back(folder: str) -> None:
    files = modules(folder)
    assert len(files) > 5, "the folder is not where this test looks"
    wrong = {str(f): b for f in files if (b := breaches(f.read_text(), package_of(f), FORBIDDEN[folder]))}
    assert wrong == {}


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_nothing_that_needs_a_gpu_is_imported_when_a_module_is(folder: str) -> None:
    wrong = {
        str(f): b
        for f in modules(folder)
        if (b := breaches(f.read_text(), package_of(f), gpu_only(f), only_at_import=True))
    }
    assert wrong == {}


def gpu_only(path: Path) -> tuple[str, ...]:
    """Training is torch; what is not training imports it where it is asked for, and not before."""
    if (ROOT / "pipeline" / "training") in path.parents:
        return tuple(name for name in GPU_ONLY if name != "torch")
    return (*GPU_ONLY, "mattemill.pipeline.training")


@pytest.mark.parametrize(
    "source",
    [
        "import ray",
        "from ray.util import x",
        "def f():\n    import mattemill.cluster.job",
        "from mattemill import cluster",
        "from ..cluster import job",
    ],
)
def test_the_rule_sees_every_way_to_import(source: str) -> None:
    assert breaches(source, "mattemill.pipeline", FORBIDDEN["pipeline"])


def test_a_gpu_import_inside_a_function_is_allowed_and_one_in_a_class_body_is_not() -> None:
    assert not breaches("def f():\n    import pycuda", "mattemill.kernels", GPU_ONLY, only_at_import=True)
    assert breaches("class A:\n    import pycuda.driver", "mattemill.kernels", GPU_ONLY, only_at_import=True)


def test_every_folder_with_code_is_a_package_that_is_installed() -> None:
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {package_of(path) for folder in FORBIDDEN for path in modules(folder)}
    assert there - listed == set()
