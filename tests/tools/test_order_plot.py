import importlib.util
from pathlib import Path

from wavediff.cli import run

SCRIPT = Path(__file__).parents[2] / "tools" / "order_plot.py"
spec = importlib.util.spec_from_file_location("order_plot", SCRIPT)
order_plot = importlib.util.module_from_spec(spec)
spec.loader.exec_module(order_plot)


def test_picture_and_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(order_plot.PROBLEMS, "mixture", order_plot.PROBLEMS["gaussian"])
    code = run(order_plot.main, ["-o", str(tmp_path), "--steps", "32", "64", "--paths", "edm"])
    assert code == 0
    assert (tmp_path / "orders.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "orders.md").read_text()
    calls = {"ddim": 1, "heun": 2, "dpmpp_2m": 1, "dpmpp_3s": 3, "unipc": 1}
    for name, (_, order) in order_plot.ODE.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1:3] == [str(calls[name]), str(order)]
        assert abs(float(cells[3].split()[0]) - order) < 0.1
    assert "--steps 32 64" in page


def test_an_order_that_is_not_reached_fails(tmp_path, capsys, monkeypatch):
    euler = order_plot.ODE["ddim"][0]
    monkeypatch.setattr(order_plot, "ODE", {"ddim": (euler, 2)})
    arguments = ["-o", str(tmp_path), "--steps", "16", "32", "--paths", "edm"]
    assert run(order_plot.main, arguments) == 1
    assert "ddim on edm" in capsys.readouterr().err
