"""Estimate what a training run needs before it starts: GPU memory, operations and hours, and changes that make it fit."""

from vicur.planning.from_config import plan_input
from vicur.planning.inputs import Hardware, PlanInput
from vicur.planning.plan import Plan, make_plan
from vicur.planning.report import plan_record, show_plan

__all__ = ["Hardware", "Plan", "PlanInput", "make_plan", "plan_input", "plan_record", "show_plan"]
