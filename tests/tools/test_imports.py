"""The picture of imports: what the tool sees, what it refuses, and that dld passes."""

import importlib.util

import pytest


@pytest.fixture
def imports(root):
    spec = importlib.util.spec_from_file_location("imports_under_test", root / "tools" / "imports.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def package(tmp_path):
    """Write modules of a package dld from `{path: text}`; returns the checkout."""

    def write(modules):
        for name, text in {"__init__.py": "", **modules}.items():
            path = tmp_path / "dld" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def test_no_import_points_upwards(imports, root):
    files, _, edges = imports.picture(root)
    assert list(imports.faults(files, edges)) == []


def test_the_picture_has_lines_and_imports(imports, package, capsys):
    root = package(
        {
            "errors.py": "if TYPE_CHECKING:\n    import dld.bin.train\n",
            "gates/__init__.py": "from . import table\n",
            "gates/table.py": "def load():\n    from dld.errors import DldError\n",
            "bin/train.py": "import dld.gates.table\nfrom ..errors import DldError\n",
        }
    )
    assert imports.main(root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["bin", "1", "2", "gates", "errors"],
        ["gates", "2", "3", "errors"],
        ["errors", "1", "2"],
        ["__init__", "1", "0"],
        ["all", "5", "7"],
    ]


@pytest.mark.parametrize(
    "modules, complaint",
    [
        (
            {"gates/a.py": "import dld.bin.x\n", "bin/x.py": ""},
            "dld/gates/a.py:1: gates imports bin, which is above it",
        ),
        (
            {"gates/a.py": "def f():\n    from dld import training\n", "training/x.py": ""},
            "dld/gates/a.py:2: gates imports training",
        ),
        ({"gates/a.py": "from ..encoders.b import x\n", "encoders/b.py": ""}, "gates imports encoders"),
        ({"nowhere.py": ""}, "dld/nowhere has no row in LAYERS"),
        (
            {"gates/a.py": "import dld.data.b\n", "data/b.py": "import dld.gates.a\n"},
            "packages of one row import each other in a circle",
        ),
    ],
)
def test_what_points_upwards_is_named(imports, package, capsys, modules, complaint):
    assert imports.main(package(modules)) == 1
    assert complaint in capsys.readouterr().err
