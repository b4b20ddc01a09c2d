"""Preparation of a dataset in portions: units of the source are divided among machines, and their parts are merged by one."""

from vicur.data.portions.merge import merge_portions

__all__ = ["merge_portions"]
