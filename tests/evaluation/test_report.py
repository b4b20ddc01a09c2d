"""The report: its HTML, and the parts that it is made of."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example as tried_example
from hypothesis import given
from hypothesis import strategies as st

from tests.answers.examples import example
from tests.evaluation.conftest import context
from tests.evaluation.factory import OPSD, VICUR, comparison_inputs
from vicur import pages
from vicur.config.comparison import ComparisonConfig
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.evaluation import compare
from vicur.evaluation.attention import AttentionSample, ImageAttention, SinkAttentionRecord
from vicur.evaluation.latency_metrics import LatencyMetrics
from vicur.evaluation.metrics import BlindMetrics, measure, read_metrics, write_metrics
from vicur.evaluation.predictions import read_predictions, write_predictions
from vicur.evaluation.report.curves import charts, read_history
from vicur.evaluation.report.heat import heat_view
from vicur.evaluation.report.images import page_image
from vicur.evaluation.report.models import ReportModel
from vicur.evaluation.report.page import json_data
from vicur.evaluation.report.scales import path, round_scale
from vicur.evaluation.statistics import Difference
from vicur.stage import code_version

_VOID = {"meta", "link", "img", "br", "circle", "line", "rect", "path"}


class Outline(HTMLParser):
    """Collects the addresses, ids and images of a page, and elements that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.without_alt = 0
        self.headers_without_scope = 0
        self.open: list[str] = []
        self.unclosed: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "srcset") and v]
        self.ids += [found["id"] or ""] if "id" in found else []
        self.without_alt += tag == "img" and not found.get("alt")
        self.headers_without_scope += tag == "th" and "scope" not in found
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.unclosed.append(tag)


@pytest.fixture(scope="module")
def html(compared: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    (folder / "output").mkdir()
    compare(ComparisonConfig(resamples=1000, cards=12), compared, folder / "output", context(folder))
    return (folder / "output" / "report.html").read_text(encoding="utf-8")


def test_blind_accuracy_and_latency_are_on_the_page_if_they_were_measured(
    compared: dict[str, Path], html: str, tmp_path: Path
) -> None:
    assert "Without the image" not in html
    assert "Seconds" not in html
    folder = shutil.copytree(compared["vicur"], tmp_path / "vicur")
    metrics = read_metrics(folder)
    gain = Difference(mean=0.25, low=0.125, high=0.375)
    blind = BlindMetrics(examples=40, accuracy=0.5, sighted_accuracy=0.75, image_gain=gain)
    metrics.splits["test"].blind["no_image"] = blind
    latency = LatencyMetrics(
        examples=30, median_seconds=0.5, p95_seconds=1.25, mean_tokens=9, device="CPU, <x>", dtype="float32", threads=1
    )
    write_metrics(metrics.model_copy(update={"latency": latency}), folder)
    (tmp_path / "output").mkdir()
    inputs = {**compared, "vicur": folder}
    compare(ComparisonConfig(resamples=1000, cards=0), inputs, tmp_path / "output", context(tmp_path))
    page = (tmp_path / "output" / "report.html").read_text(encoding="utf-8")
    row = re.search(r"<td>no image</td>.*?</tr>", page, re.DOTALL)
    assert row is not None
    assert re.findall(r"[+\d.]+ %|[+−][\d.]+", row.group()) == ["75.0 %", "50.0 %", "+25.0", "+12.5", "+37.5"]
    assert "answered without looking" in page
    assert "0.5 / 1.25" in page
    assert "30 questions, float32, CPU, &lt;x&gt;" in page


def test_questions_that_were_not_asked_are_counted_on_the_page(
    compared: dict[str, Path], html: str, tmp_path: Path
) -> None:
    assert "Unanswered" not in html
    folder = shutil.copytree(compared["vicur"], tmp_path / "vicur")
    predictions = read_predictions(folder)
    for number in [n for n, p in enumerate(predictions) if p.split == "test"][:3]:
        changed = {"response": "", "correct": False, "unanswered": "prompt too long"}
        predictions[number] = predictions[number].model_copy(update=changed)
    write_predictions(predictions, folder)
    metrics = read_metrics(folder)
    test = measure([p for p in predictions if p.split == "test"])
    write_metrics(metrics.model_copy(update={"splits": {**metrics.splits, "test": test}}), folder)
    (tmp_path / "output").mkdir()
    compare(
        ComparisonConfig(resamples=1000, cards=3), {**compared, "vicur": folder}, tmp_path / "output", context(tmp_path)
    )
    page = (tmp_path / "output" / "report.html").read_text(encoding="utf-8")
    assert '<td class="num">3</td>' in page
    assert "Unanswered: prompt too long. These questions were not asked and count as incorrect." in page


def test_the_page_is_self_contained(html: str) -> None:
    outline = Outline()
    outline.feed(html)
    assert all(address.startswith(("data:", "#")) for address in outline.addresses)
    assert "default-src 'none'" in html
    assert not re.search(r"@import|url\((?!data:)|https?://(?!www\.w3\.org)", html)


def test_the_page_is_well_formed_and_accessible(html: str) -> None:
    outline = Outline()
    outline.feed(html)
    assert outline.unclosed == []
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.without_alt == 0
    assert outline.headers_without_scope == 0


def test_the_page_shows_verdicts_tables_cards_and_heat_maps(html: str) -> None:
    for text in ("vicur answers", "opsd and its base", "was not measured", "Out of domain", "Column sum"):
        assert text in html
    assert html.count('class="card"') == 12
    assert html.count('class="overlay"') == 4 * 3
    assert "Gap by quarter: vicur" in html
    assert "cannot depend on the question" in html


def test_report_and_cue_samples_share_one_stylesheet_that_counts_as_code(html: str, cues: Path) -> None:
    style = Path(str(pages.__file__)).with_name("page.css")
    assert style.read_text(encoding="utf-8") in html
    assert style.read_text(encoding="utf-8") in (cues / "samples.html").read_text(encoding="utf-8")
    assert style in set(code_version._files_named_by("vicur.pages.html"))
    for stage in ("vicur.cues.extract", "vicur.evaluation.compare"):
        assert "vicur.pages.html" in code_version.modules_behind(stage)


def test_markup_in_data_is_escaped(
    dataset: Path, cues: Path, held_out: list[Example], output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "</script><script>alert(1)</script>\"'<img src=x onerror=alert(2)>&amp;{{ 7*7 }}"

    def poisoned(e: Example) -> Example:
        return e.model_copy(
            update={"question": evil, "answer": evil, "cue": evil, "metadata": {**e.metadata, "kind": evil}}
        )

    monkeypatch.setattr(
        "vicur.evaluation.report.page.ExamplesById",
        lambda _, split: {e.id: poisoned(e) for e in held_out if e.split == split},
    )
    monkeypatch.setattr("vicur.evaluation.report.page.read_cues", lambda _: {e.id: evil for e in held_out})
    inputs = comparison_inputs(tmp_path / "in", dataset, cues, held_out, [VICUR])
    record = inputs["vicur.student"] / "vicur.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "best_step": evil}))
    compare(ComparisonConfig(resamples=1000, cards=4, title=evil), inputs, output, context(tmp_path))
    html = (output / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "49" not in re.findall(r"amp;\{\{ 7\*7 \}\}|amp;(49)", html)
    outline = Outline()
    outline.feed(html)
    assert (outline.unclosed, outline.open) == ([], [])


@given(st.recursive(st.one_of(st.text(), st.floats(allow_nan=False), st.none()), st.lists, max_leaves=5))
def test_embedded_json_cannot_close_its_element(value: object) -> None:
    text = json_data(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def test_a_run_without_the_module_explains_the_missing_attention(
    dataset: Path, cues: Path, held_out: list[Example], output: Path, tmp_path: Path
) -> None:
    inputs = comparison_inputs(tmp_path / "in", dataset, cues, held_out, [OPSD])
    compare(ComparisonConfig(resamples=1000), inputs, output, context(tmp_path))
    html = (output / "report.html").read_text(encoding="utf-8")
    assert "No student of this run has the cue recovery module" in html
    assert 'class="overlay"' not in html


def test_students_without_training_metrics_have_no_curves(
    dataset: Path, cues: Path, held_out: list[Example], output: Path, tmp_path: Path
) -> None:
    inputs = comparison_inputs(tmp_path / "in", dataset, cues, held_out, [OPSD])
    del inputs["opsd.student"]
    compare(ComparisonConfig(resamples=1000, cards=0), inputs, output, context(tmp_path))
    html = (output / "report.html").read_text(encoding="utf-8")
    assert 'id="curves"' not in html
    assert 'id="samples"' not in html


class TestScales:
    @given(st.lists(st.floats(-1e6, 1e6), max_size=20))
    @tried_example([15001.0, -1e-05])
    def test_a_scale_covers_its_values_with_round_ticks(self, values: list[float]) -> None:
        scale = round_scale(values)
        assert scale.low < scale.high
        # A value within a billionth of a step of a tick counts as on the tick.
        slack = 1e-8 * (scale.high - scale.low)
        assert all(scale.low - slack <= v <= scale.high + slack for v in values)
        assert 2 <= len(scale.ticks) <= 7
        assert all(0 <= scale.place(v) <= 100 for v in values)

    def test_ticks_are_round(self) -> None:
        assert round_scale([0.61, 0.74]).ticks == (0.6, 0.65, 0.7, 0.75)
        assert round_scale([-2.3, 13.8], include=(0,)).ticks == (-10.0, 0.0, 10.0, 20.0)

    def test_a_missing_value_interrupts_a_path(self) -> None:
        assert path([(0, 0), (50, 100), (60, None), (70, 25)]) == "M0 100L50 0M70 75"


class TestCurves:
    @pytest.fixture
    def model(self) -> ReportModel:
        return ReportModel("vicur", 1, VICUR.model, chosen=True)

    def test_records_of_one_step_are_merged_and_non_finite_values_are_dropped(self, tmp_path: Path) -> None:
        lines = [{"step": 2, "loss": 0.5}, {"step": 1, "loss": None}, {"step": 2, "validation_accuracy": 0.7}]
        (tmp_path / "metrics.jsonl").write_text(
            "\n".join(json.dumps(line) for line in lines) + '\n{"step": 3, "loss": NaN}'
        )
        assert read_history(tmp_path) == [
            {"step": 1},
            {"step": 2, "loss": 0.5, "validation_accuracy": 0.7},
            {"step": 3},
        ]

    @pytest.mark.parametrize("line", ["{", "[]", '{"loss": 1}', '{"step": "x"}'])
    def test_a_damaged_record_is_refused_with_its_line(self, tmp_path: Path, line: str) -> None:
        (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n')
        with pytest.raises(VicurError, match=r"metrics\.jsonl:2"):
            read_history(tmp_path)

    def test_long_curves_are_averaged_down(self, model: ReportModel) -> None:
        history = [{"step": float(step), "loss": float(step % 2)} for step in range(1, 10_001)]
        (chart,) = charts([model], {"vicur": history})
        (line,) = chart.lines
        assert len(line.points) == 500
        assert {value for _, value in line.points} == {0.5}
        assert line.points[-1][0] == 10_000

    def test_charts_without_metrics_are_omitted(self, model: ReportModel) -> None:
        shown = charts([model], {"vicur": [{"step": 0.0, "entropy": 1.0}, {"step": 1.0, "entropy": 0.5}]})
        assert [chart.panel.title for chart in shown] == ["Entropy"]
        assert charts([model], {"vicur": []}) == []

    def test_a_chart_of_zeros_is_marked_as_such(self, model: ReportModel) -> None:
        (zero,) = charts([model], {"vicur": [{"step": 1.0, "leakage/samples": 0.0}]})
        (leaking,) = charts([model], {"vicur": [{"step": 1.0, "leakage/samples": 2.0}]})
        assert (zero.all_zero, leaking.all_zero) == (True, False)


class TestImages:
    def test_small_images_are_embedded_unchanged_and_pixelated(self, held_out: list[Example]) -> None:
        image = page_image(held_out[0].images[0])
        assert image is not None
        assert (image.width, image.height, image.pixelated) == (48, 32, True)

    def test_large_images_are_scaled_down(self) -> None:
        import io

        from PIL import Image

        buffer = io.BytesIO()
        Image.new("RGB", (2000, 1000)).save(buffer, "PNG")
        image = page_image(buffer.getvalue())
        assert image is not None
        assert (image.width, image.height, image.pixelated) == (512, 256, False)

    def test_an_image_that_cannot_be_decoded_is_omitted(self) -> None:
        assert page_image(b"not an image") is None


def test_heat_is_relative_to_the_strongest_token_and_shares_are_in_percent(held_out: list[Example]) -> None:
    shown = example("7").model_copy(update={"id": "e", "images": held_out[0].images})
    weights = {0: [0.5, 0.25, 0.25, 0.0], 2: [0.0, 0.5, 0.25, 0.25]}
    sample = AttentionSample(example_id="e", images=[ImageAttention(rows=2, columns=2, layers=weights)])
    model = ReportModel("vicur", 1, VICUR.model, chosen=True)
    view = heat_view(model, SinkAttentionRecord(sink="assistant", samples=[sample]), {"e": shown})
    assert view is not None
    assert view.layers == ("mean", "0", "2")
    first, second, _, last = view.samples[0].images[0].cells
    assert (first.shares, first.heats["0"]) == ({"mean": 25.0, "0": 50.0, "2": 0.0}, 1.0)
    assert (second.heats["mean"], last.heats["0"]) == (1.0, 0.0)
    assert (last.x, last.y, last.width, last.height) == (50, 50, 50, 50)


def test_attention_over_a_video_is_drawn_on_the_first_frames_of_some_groups(held_out: list[Example]) -> None:
    frames = 24
    film = example("7").model_copy(
        update={
            "id": "e",
            "images": (held_out[0].images[0],) * frames,
            "metadata": {"video": {"timestamps": [n / 2 for n in range(frames)], "fps": 2.0}},
        }
    )
    groups = [ImageAttention(rows=1, columns=2, layers={0: [n / 100, 0.0]}) for n in range(frames // 2)]
    record = SinkAttentionRecord(sink="first", samples=[AttentionSample(example_id="e", images=groups)])
    view = heat_view(ReportModel("vicur", 1, VICUR.model, chosen=True), record, {"e": film})
    assert view is not None
    shown = [image.cells[0].shares["0"] for image in view.samples[0].images]
    assert shown == [0.0, 2.0, 4.0, 7.0, 9.0, 11.0]
