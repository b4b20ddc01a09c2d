"""The profile of a dataset: one page that shows what is in it, and what was left out."""

from vicur.data.profile.figures import Profile, profile_of
from vicur.data.profile.page import render_profile

__all__ = ["Profile", "profile_of", "render_profile"]
