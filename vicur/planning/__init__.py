"""What a training takes, told before any money is spent: memory of each GPU, operations, hours, and what to change if it does not fit."""

from vicur.planning.inputs import Hardware, PlanInput, plan_input
from vicur.planning.plan import Plan, make_plan
from vicur.planning.report import plan_record, show_plan

__all__ = ["Hardware", "Plan", "PlanInput", "make_plan", "plan_input", "plan_record", "show_plan"]
