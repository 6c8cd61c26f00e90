"""What the first process finds out reaches all, and so does what went wrong."""

import os

import torch.distributed as dist
from processes import run_ranks

from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.parallel.first_process import by_first


def ask():
    rank, world_size = int(os.environ["LOCAL_RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    asked = []

    def work():
        asked.append(1)
        return {"rank": dist.get_rank()}

    def bad():
        raise UserError("a wrong setting")

    def down():
        raise EnvironmentFailure("a server is down")

    assert by_first(work) == {"rank": 0} and len(asked) == (dist.get_rank() == 0)
    for failing, kind, said in (
        (bad, UserError, "a wrong setting"),
        (down, EnvironmentFailure, "a server is down"),
    ):
        try:
            by_first(failing)
        except kind as error:
            assert str(error) == said
        else:
            raise AssertionError("nothing was raised")
    dist.destroy_process_group()


def test_all_processes_know_what_the_first_one_knows(tmp_path):
    run_ranks(ask, log=tmp_path / "log")


def test_alone_it_is_a_plain_call():
    assert by_first(lambda: 3) == 3
