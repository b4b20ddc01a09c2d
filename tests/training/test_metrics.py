"""Metric accumulators of several ranks give the metrics of the whole batch."""

from vicur.training.metrics import Metrics


def test_merged_metrics_are_those_of_the_whole():
    one, other, empty = Metrics(), Metrics(), Metrics()
    one.add_mean("mean", 6, 2)
    other.add_mean("mean", 3, 1)
    empty.add_mean("mean", 0, 0)
    one.add_sum("sum", 2)
    other.add_sum("sum", 3)
    for metrics, value in ((one, -3.0), (other, -1.0), (empty, -2.0)):
        metrics.add_max("max", value)
    whole = Metrics()
    whole.merge([one, other, empty])
    assert whole.compute() == {"mean": 3, "sum": 5, "max": -1.0}


def test_mean_without_values_does_not_appear():
    metrics = Metrics()
    metrics.add_mean("mean", 0, 0)
    assert metrics.compute() == {}
