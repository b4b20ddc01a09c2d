"""Replace the real stages by fakes in every Python process that has this folder on its path."""

import fake_stages

fake_stages.install()
