"""BENCHMARKS.md follows from the measurements: ratios, goals, lost rows, and missing parts."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benches"))

from report import document, goals, losses, peers, plots  # noqa: E402
from report.figures import number, shown, with_range  # noqa: E402
from report.remarks import Remark, remarks, text_of  # noqa: E402
from report.results import Results  # noqa: E402


def peer(*passes, **words):
    return {
        "code": "x",
        "passes": [
            {"first": {"time": first}, "later": [{"time": value} for value in later]}
            for first, *later in passes
        ],
        **words,
    }


def run(peers, rust=(), **changes):
    work = {
        "title": "one",
        "per": "call",
        "units": {"time": "s"},
        "shows_first": True,
        "nbytes": None,
        "peers": peers,
    }
    return {
        "quick": False,
        "only": "",
        "stale": False,
        "commit": "abc",
        "began": "then",
        "ended": "now",
        "machine": {},
        "versions": {},
        "parts": {
            "rust": {"status": "complete", "results": {"rows": list(rust)}},
            "python": {"status": "complete", "results": {"alloc-one": work}},
        },
        **changes,
    }


PEERS = {
    # The first number of a pass is the unseen measurement.
    "memgroup-warm": peer((9e-8, 1e-8, 3e-8, 2e-8), (9e-8, 4e-8), (9e-8, 6e-8)),
    "bytearray": peer((3e-8, 4e-8), (3e-8, 5e-8), (3e-8, 4e-8)),
    "pyarrow": peer(unavailable="pyarrow is not installed"),
}


def line_of(text, start):
    return next(line for line in text.splitlines() if line.startswith(start))


def test_a_ratio_is_the_middle_one_of_the_passes_ratios():
    compared = Results(run(PEERS)).compared("alloc-one", "time", "memgroup-warm", "bytearray")
    assert compared is not None
    assert compared.ratios == pytest.approx([0.5, 0.8, 1.5])
    assert compared.ratio == pytest.approx(0.8)


def test_the_first_measurement_is_kept_apart():
    compared = Results(run(PEERS)).compared("alloc-one", "first time", "memgroup-warm", "bytearray")
    assert compared is not None
    assert compared.ratio == pytest.approx(3)


def test_a_work_measured_once_has_only_its_first_measurement():
    assert Results(run({"memgroup-warm": peer((9e-8,))})).value("alloc-one", "memgroup-warm", "time") == 9e-8


@pytest.mark.parametrize(("ours", "verdict"), [(2.9e-8, "**not met**"), (2.3e-8, "met")])
def test_a_goal_is_judged_by_its_measurements(ours, verdict):
    results = Results(run({"memgroup-warm": peer((0, ours)), "bytearray": peer((0, 4e-8))}))
    lines = [line for line in goals.table(results) if "memgroup-warm ÷ bytearray | ≤ 0.600" in line]
    assert len(lines) == 1
    assert lines[0].endswith(f"| {verdict} |")


def test_a_goal_without_figures_is_not_judged():
    verdicts = {line.rsplit("|", 2)[1].strip() for line in list(goals.table(Results(run({}))))[2:]}
    assert verdicts == {"not measured"}


def test_lost_rows_are_listed_with_the_first_reason_that_covers_them():
    reasons = [Remark(("python/*/first time/*",), "cold"), Remark(("*",), "else")]
    lines = list(losses.table(Results(run(PEERS)), reasons))[2:]
    assert lines == ["| alloc-one | first time | memgroup-warm | bytearray 3.00 | cold |"]


def test_a_lost_row_without_a_reason_says_so():
    lines = list(losses.table(Results(run(PEERS)), []))[2:]
    assert lines[0].endswith(f"| {losses.UNEXPLAINED} |")


def test_lost_rows_of_rust_are_listed_too():
    row = {
        "work": "w",
        "measured": "memgroup-alloc",
        "against": "bumpalo",
        "measured_ns": [5],
        "against_ns": [1],
    }
    among_us = {**row, "against": "memgroup-anonymous"}
    of_others = {**row, "measured": "box-kept", "against": "box"}
    (lost,) = losses.lost(Results(run({}, [row, among_us, of_others])))
    assert lost.key == "rust/w/time/memgroup-alloc/bumpalo"


def test_the_reasons_that_are_kept_can_be_read():
    assert all(remark.of and remark.text for remark in remarks(ROOT / "benches/reasons.toml"))


def test_the_page_names_peers_that_could_not_be_measured():
    page = document.page(run(PEERS), ROOT, [])
    assert "pyarrow is not installed" in line_of(page, "| pyarrow")
    assert "> " not in page.splitlines()[2]  # which is no reason to warn


@pytest.mark.parametrize("status", ["interrupted", "failed, exit status 101", "left out (--no-rust)"])
def test_the_page_says_first_of_all_which_part_is_missing(status):
    missing = run(PEERS)
    missing["parts"]["rust"] = {"status": status, "results": None}
    page = document.page(missing, ROOT, [])
    assert page.splitlines()[2] == f"> **`cargo bench`: {status}.** What it did not measure is missing below."


def test_the_page_says_that_a_peer_failed_and_that_the_code_is_old():
    page = document.page(run({"memgroup-warm": peer(failed="exit status 1")}, stale=True), ROOT, [])
    assert "alloc-one, memgroup-warm: failed: exit status 1." in page
    assert "installed before src/ was last changed" in page


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0"), (0.01234, "0.0123"), (1, "1.00"), (52.04, "52.0"), (123456, "123,456")]
)
def test_numbers_have_three_significant_figures(value, words):
    assert number(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(5e-9, "5.00 ns"), (2.5e-5, "25.0 µs"), (0.9, "900 ms"), (1.5, "1.50 s")]
)
def test_times_come_in_the_unit_that_suits_them(seconds, words):
    assert shown(seconds, "s") == words


def test_a_range_is_in_the_unit_of_its_middle():
    assert with_range([9e-7, 1e-6, 2e-6], "s") == "1.00 µs (0.900–2.00)"


def test_the_page_opens_with_plots_and_ends_with_internals():
    internal = {"work": "windows-memfd", "measured": "16-KiB", "against": "fault"}
    rows = [{**internal, "measured_ns": [1.0], "against_ns": [2.0]}]
    text = document.page(run(PEERS, rows), ROOT, [])
    heads = [line for line in text.splitlines() if line.startswith(("## ", "!["))]
    assert heads[0] == "![From Python: time, the further left the better](docs/img/python.svg)"
    assert heads[1:3] == ["## Who is compared", "## The rows we lose"]
    assert heads[-1] == "## Internals"
    assert text.index("### windows-memfd") > text.index("### Goals") > text.index("## Internals")


def test_values_lie_on_a_logarithmic_axis_between_whole_powers_of_ten():
    panel = plots.Panel("one", [("memgroup-warm", 2e-9), ("bytes", 2e-8), ("bare-add", 2e-7)])
    low, high = plots.decades(panel)
    assert (low, high) == (-9, -6)
    first, second, third = (plots.place(value, low, high) for _, value in panel.values)
    assert second - first == pytest.approx(third - second, abs=1)
    assert plots.place(1e-9, low, high) < first
    assert third < plots.place(1e-6, low, high)
    assert [plots.tick(power, "s") for power in (-10, -9, -7, -6)] == ["0.1 ns", "1 ns", "100 ns", "1 µs"]


def test_a_picture_has_a_legend_and_tells_roles_apart():
    panel = plots.Panel("one", [("memgroup-warm", 2e-9), ("bytes", 2e-8), ("bare-add", 2e-7)])
    text = "\n".join(plots.picture("title", [panel]))
    for role, meaning in plots.LEGEND:
        assert meaning in text
        assert text.count(f'class="{role}"') == 2  # in the legend, and in the panel
    assert "prefers-color-scheme:dark" in text


def test_every_peer_in_a_plot_is_explained():
    given = remarks(ROOT / "benches/peers.toml")
    page = (ROOT / "BENCHMARKS.md").read_text(encoding="utf-8")
    for plot in plots.PLOTS:
        drawing = (ROOT / f"docs/img/{plot.name}.svg").read_text(encoding="utf-8")
        for name in re.findall(r'class="n"[^>]*>([^<]*)<', drawing):
            assert text_of(name, given)
            assert re.search(rf"^\|(.*, | ){re.escape(name)}(,.*| )\|", page, re.MULTILINE)
    with pytest.raises(LookupError, match="explain unknown in "):
        list(peers.table(["unknown"], given))
