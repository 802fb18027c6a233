"""`dld doctor`: what it reports of a whole and of a broken environment."""

import sys

import pytest

import dld
from dld.bin import doctor


def test_it_reports_versions_devices_and_optional_parts(capsys):
    assert doctor.main([]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["dld", dld.__version__] in lines and ["torch", sys.modules["torch"].__version__] in lines
    assert {part.name for part in doctor.OPTIONAL} <= {words[0] for words in lines}
    assert "vector instructions" in out and "cuda" in out


@pytest.mark.parametrize(
    ("code", "said"),
    [("raise OSError('libfoo.so: cannot open')", "fails to import: libfoo.so: cannot open"), (None, "missing")],
)
def test_a_broken_package_is_a_line_and_status_1(code, said, tmp_path, monkeypatch, capsys):
    if code:
        (tmp_path / "no_such_part.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "REQUIRED", ("no_such_part", "numpy"))
    assert doctor.main([]) == 1
    out, err = capsys.readouterr()
    assert f"no_such_part  {said}" in out
    assert err == "dld doctor: error: no_such_part: required and not usable; run tools/install.sh\n"


def test_a_missing_optional_part_says_how_to_get_it(monkeypatch, capsys):
    part = doctor.Part("no_such_part", "nothing", "pip install no-such-part")
    monkeypatch.setattr(doctor, "OPTIONAL", (part,))
    assert doctor.main([]) == 0
    assert "missing  for nothing; get it: pip install no-such-part" in capsys.readouterr().out
