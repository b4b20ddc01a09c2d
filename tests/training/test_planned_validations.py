"""A training makes the validations that ``vicur plan`` predicts."""

import pytest

from tests.training.conftest import curves
from tests.training.train_once import SETTINGS, train_once
from vicur.planning.compute import validations


@pytest.mark.parametrize(("steps", "every"), [(4, 2), (3, 2), (2, 5)])
def test_training_makes_the_validations_of_its_plan(inputs, tmp_path, steps, every):
    settings = SETTINGS.model_copy(update={"steps": steps, "validate_every": every})
    records = curves(train_once(inputs, tmp_path, settings))
    assert len(records) == 1 + steps
    assert sum("validation_accuracy" in record for record in records) == validations(steps, every)
