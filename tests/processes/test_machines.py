"""torchrun's environment variables: the number of machines and the rank of this one."""

import pytest

from vicur.errors import VicurError
from vicur.processes.machines import Machines


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("PET_NNODES", "PET_NODE_RANK", "PET_MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"PET_NNODES": "1:4"}, "PET_NNODES is '1:4' .* whole numbers"),
        (
            {"PET_NNODES": "2", "PET_NODE_RANK": "2", "PET_MASTER_ADDR": "here"},
            "PET_NODE_RANK is 2, but ranks run from 0",
        ),
        ({"PET_NNODES": "0"}, "PET_NNODES is 0"),
        ({"PET_NNODES": "2", "PET_MASTER_ADDR": "here"}, "PET_NNODES is 2, but PET_NODE_RANK is not set"),
        ({"PET_NNODES": "2", "PET_NODE_RANK": "0"}, "PET_NNODES is 2, but PET_MASTER_ADDR is not set"),
    ],
)
def test_incomplete_or_contradicting_variables_are_rejected(monkeypatch, variables, problem):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(VicurError, match=problem):
        Machines.from_environment()


def test_variables_give_count_and_rank(monkeypatch):
    for name, value in {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "here"}.items():
        monkeypatch.setenv(name, value)
    assert Machines.from_environment() == Machines(count=2, rank=1)


def test_without_variables_there_is_one_machine():
    assert Machines.from_environment() == Machines(count=1, rank=0)
