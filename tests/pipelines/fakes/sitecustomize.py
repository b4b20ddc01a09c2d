"""Puts fake stages in the place of the real ones in every Python process that has this folder on its path."""

import fake_stages

fake_stages.install()
