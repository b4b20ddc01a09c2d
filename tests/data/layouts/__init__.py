"""Small folders in the layouts of public datasets, as their authors release them, with synthetic questions and images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.data.layouts import (
    benchmarks,
    chat,
    documents,
    figures,
    files,
    geometry,
    instructions,
    reasoning,
    school,
    vqa,
)
from tests.data.layouts.items import Expected, Item, items

Builder = Callable[[Path, list[Item]], list[Expected]]
"""Writes items to a folder and returns what they must become, in the order of the files."""


@dataclass(frozen=True)
class Layout:
    """One public layout."""

    name: str
    format: str
    """Name of the format that recognises it."""
    build: Builder
    splits: tuple[str, ...]
    """Our splits that the layout names; of one without splits, every item is in ``distill``."""

    def write(self, folder: Path, count: int = 2) -> list[Expected]:
        """Write the layout with ``count`` questions in each split."""
        folder.mkdir(parents=True, exist_ok=True)
        return self.build(folder, items(count, self.splits))


THREE = ("distill", "validation", "test")
TWO = ("distill", "test")
ONE = ("distill",)

LAYOUTS = (
    Layout("llava", "conversations", chat.llava, ONE),
    Layout("llava_instruct", "conversations", chat.llava_instruct, ONE),
    Layout("sharegpt4v", "conversations", chat.sharegpt4v, ONE),
    Layout("llava_cot", "conversations", chat.llava_cot, ONE),
    Layout("llava_onevision", "conversations", chat.llava_onevision, ONE),
    Layout("r1_onevision", "conversations", chat.r1_onevision, ONE),
    Layout("vision_r1_cold", "vision_r1", chat.vision_r1_cold, ONE),
    Layout("vision_r1_rl", "parquet", geometry.vision_r1_rl, TWO),
    Layout("openai", "messages", chat.openai, THREE),
    Layout("swift", "messages", chat.swift, ONE),
    Layout("qwen", "messages", chat.qwen, ONE),
    Layout("finevision", "messages", chat.finevision, ONE),
    Layout("geometry3k", "geometry3k", geometry.geometry3k, THREE),
    Layout("geometry3k_parquet", "parquet", geometry.geometry3k_parquet, THREE),
    Layout("verl", "verl", geometry.verl, TWO),
    Layout("mm_math", "mm_math", geometry.mm_math, ONE),
    Layout("virl39k", "parquet", geometry.virl39k, ONE),
    Layout("mmmu", "mmmu", benchmarks.mmmu, ("validation",)),
    Layout("mathvista", "mathvista", benchmarks.mathvista, ("test",)),
    Layout("mathverse", "mathverse", benchmarks.mathverse, ("test",)),
    Layout("we_math", "we_math", benchmarks.we_math, ("test",)),
    Layout("dynamath", "dynamath", benchmarks.dynamath, ("test",)),
    Layout("math_vision", "math_vision", benchmarks.math_vision, ("test",)),
    Layout("vqav2", "vqa", vqa.vqav2, ("distill", "validation")),
    Layout("easy_vqa", "easy_vqa", vqa.easy_vqa, TWO),
    Layout("clevr", "clevr", vqa.clevr, ("distill", "validation")),
    Layout("gqa", "gqa", vqa.gqa, ("distill", "validation")),
    Layout("a_okvqa", "a_okvqa", vqa.a_okvqa, ("distill", "validation")),
    Layout("a_okvqa_parquet", "a_okvqa", vqa.a_okvqa_parquet, ("distill", "validation")),
    Layout("scienceqa", "scienceqa_problems", school.scienceqa, THREE),
    Layout("scienceqa_parquet", "scienceqa", school.scienceqa_parquet, THREE),
    Layout("chartqa", "chartqa", documents.chartqa, THREE),
    Layout("chartqa_parquet", "parquet", documents.chartqa_parquet, THREE),
    Layout("docvqa", "docvqa", documents.docvqa, ("distill", "validation")),
    Layout("textvqa_parquet", "parquet", documents.textvqa_parquet, ("distill", "validation")),
    Layout("ocr_vqa", "ocr_vqa", documents.ocr_vqa, THREE),
    Layout("visual_genome", "visual_genome", vqa.visual_genome, ONE),
    Layout("mmbench", "mmbench", benchmarks.mmbench, ("validation",)),
    Layout("tabmwp", "tabmwp", school.tabmwp, THREE),
    Layout("m3cot", "m3cot", school.m3cot, THREE),
    Layout("webdataset", "webdataset", files.webdataset, TWO),
    Layout("webdataset_cls", "webdataset", files.webdataset_cls, TWO),
    Layout("imagefolder", "imagefolder", files.imagefolder, TWO),
    Layout("imagefolder_csv", "imagefolder", files.imagefolder_csv, ONE),
    Layout("mmk12", "parquet", reasoning.mmk12, TWO),
    Layout("mm_eureka", "conversations", reasoning.mm_eureka, ONE),
    Layout("open_r1", "parquet", reasoning.open_r1, ONE),
    Layout("geoqa_r1v", "parquet", reasoning.geoqa_r1v, ONE),
    Layout("trl_grpo", "parquet", reasoning.trl_grpo, ONE),
    Layout("mmpr", "jsonl", reasoning.mmpr, ONE),
    Layout("rlaif_v", "parquet", reasoning.rlaif_v, ONE),
    Layout("trl_preferences", "parquet", reasoning.trl_preferences, ONE),
    Layout("sharegpt_preferences", "conversations", reasoning.sharegpt_preferences, ONE),
    Layout("alpaca", "json", instructions.alpaca, ONE),
    Layout("swift_query", "jsonl", instructions.swift_query, ONE),
    Layout("swift_conversation", "conversations", instructions.swift_conversation, ONE),
    Layout("internvl", "conversations", instructions.internvl, ONE),
    Layout("mathv360k", "conversations", instructions.mathv360k, ONE),
    Layout("the_cauldron", "messages", instructions.the_cauldron, ONE),
    Layout("trl_completion", "parquet", instructions.trl_completion, ONE),
    Layout("vsft", "messages", instructions.vsft, ONE),
    Layout("transformers_parts", "messages", instructions.transformers_parts, ONE),
    Layout("iconqa", "iconqa", figures.iconqa, THREE),
    Layout("tallyqa", "json", figures.tallyqa, TWO),
    Layout("super_clevr", "clevr", figures.super_clevr, ONE),
    Layout("plotqa", "json", figures.plotqa, THREE),
    Layout("dvqa", "json", figures.dvqa, ("distill", "validation")),
    Layout("vizwiz", "json", figures.vizwiz, ("distill", "validation")),
    Layout("pope", "jsonl", figures.pope, ONE),
    Layout("vstar", "jsonl", figures.vstar, ("test",)),
    Layout("muirbench", "parquet", figures.muirbench, ("test",)),
    Layout("pixmo_cap_qa", "messages", figures.pixmo_cap_qa, ONE),
)
