"""How weights reach vLLM servers, as far as it goes without vLLM and NCCL."""

import copy
import sys
import threading
from types import ModuleType, SimpleNamespace

import pytest
import torch
from fake_vllm import cut_off, hang, serving
from near import same
from processes import free_port

from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.rollout import NCCLTransfer
from fgexpo.rollout.vllm.fleet import Fleet
from fgexpo.rollout.vllm.receivers import Receivers, own_address
from fgexpo.rollout.vllm.weight_stream import WeightStream, dtype_to_send


def test_what_is_told_beforehand_is_what_comes_each_time(model):
    stream = WeightStream(model, "bfloat16")
    told, names = stream.metadata(), list(model.state_dict())
    for _ in range(2):
        sent = list(stream)
        assert [name for name, _ in sent] == names
        assert [(name, w.dtype, tuple(w.shape)) for name, w in sent] == told
        for name, weight in sent:
            assert torch.equal(weight, model.state_dict()[name].bfloat16())
        with torch.no_grad():
            model.lm_head.weight.add_(1)
    own = WeightStream(model, None).metadata()
    assert {meta.dtype for meta in own} == {torch.float64}


def test_a_model_that_may_keep_other_dtypes_is_not_rounded(model):
    assert dtype_to_send(model, "bfloat16") == "bfloat16"
    assert dtype_to_send(model, None) is None
    mixture = SimpleNamespace(config=SimpleNamespace(model_type="qwen3_moe"))
    assert dtype_to_send(mixture, "bfloat16") is None


def test_adapters_are_sent_merged_under_the_names_of_the_plain_model(model):
    peft = pytest.importorskip("peft")
    names = list(model.state_dict())
    targets = ["q_proj", "down_proj"]
    lora = peft.LoraConfig(r=4, target_modules=targets, init_lora_weights=False)
    adapted = peft.get_peft_model(model, lora)
    merged = copy.deepcopy(adapted).merge_and_unload().state_dict()
    stream = WeightStream(adapted, None)
    assert [meta.name for meta in stream.metadata()] == names
    for name, weight in stream:
        same(weight, merged[name])


INIT = {"master_address": "10.0.0.1", "master_port": 1, "rank_offset": 1, "world_size": 6}


def test_all_servers_are_one_receiver_with_ranks_of_their_own():
    with serving() as a, serving() as b:
        receivers = Receivers(Fleet([a.url, b.url], 5.0, "a limit"), [2, 3])
        receivers.init_weight_transfer_engine(INIT)
        receivers.start_weight_update()
        receivers.update_weights({"names": ["x"]})
        receivers.finish_weight_update()
        receivers.finish_weight_update("7")
        assert a.calls[0][1] == {"init_info": INIT}
        assert b.calls[0][1] == {"init_info": {**INIT, "rank_offset": 3}}
        assert a.calls[1:] == b.calls[1:]
        assert b.calls[1:] == [
            ("/start_weight_update", {}),
            ("/update_weights", {"update_info": {"names": ["x"]}}),
            ("/finish_weight_update", {}),
            ("/finish_weight_update", {"weight_version": "7"}),
        ]


def test_a_server_that_dies_over_the_weights_ends_the_broadcast_and_is_named():
    with serving() as a, serving() as b:
        receivers = Receivers(Fleet([a.url, b.url], 5.0, "a limit"), [1, 1])
        ended = threading.Event()
        receivers.abort = ended.set
        a.weights = hang()
        b.weights = cut_off
        with pytest.raises(EnvironmentFailure, match=f"{b.url} died while it took over weights"):
            receivers.update_weights({})
        assert ended.is_set()


class Sender:
    """vLLM's ``NCCLTrainerWeightTransferEngine``, without a group."""

    def __init__(self, info, client, source):
        self.info, self.client, self.source = info, client, source
        self.model_update_group = SimpleNamespace(destroy=lambda: None)

    @classmethod
    def trainer_init(cls, info, *, client, source):
        client.init_weight_transfer_engine({"rank_offset": 1, "world_size": info.world_size})
        return cls(info, client, source)

    def send_weights(self):
        self.client.update_weights({"names": [meta.name for meta in self.source.metadata()]})


@pytest.fixture
def vllm(monkeypatch):
    name = "vllm.distributed.weight_transfer.nccl_engine"
    module = ModuleType(name)
    module.NCCLTrainerInitInfo = SimpleNamespace
    module.NCCLTrainerWeightTransferEngine = Sender
    for part in ("vllm", "vllm.distributed", "vllm.distributed.weight_transfer"):
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("vllm")
def test_the_group_is_opened_once_with_what_the_servers_say(model, monkeypatch):
    with serving(dtype="torch.bfloat16") as a, serving(dtype="torch.bfloat16") as b:
        transfer = NCCLTransfer(port=12345)
        for _ in range(2):
            transfer.send(model, [a.url, b.url])
        info, source = transfer._engine.info, transfer._engine.source
        # Each says that it has two workers.
        assert (info.rank, info.world_size, info.master_port) == (0, 5, 12345)
        assert info.master_address == "127.0.0.1"
        assert {meta.dtype for meta in source.metadata()} == {torch.bfloat16}
        paths = [path for path, _ in b.calls]
        assert paths == ["/init_weight_transfer_engine", "/update_weights", "/update_weights"]
        assert b.calls[0][1] == {"init_info": {"rank_offset": 3, "world_size": 5}}
        b.gets.pop("/get_world_size")
        with pytest.raises(UserError, match=r"transfer\.workers must be given: .* does not say"):
            NCCLTransfer().send(model, [a.url, b.url])
        b.gets["/get_world_size"] = {"world_size": 2}
        monkeypatch.setattr(model.config, "model_type", "qwen3_moe")
        mixture = NCCLTransfer()
        mixture.send(model, [a.url, b.url])
        assert {meta.dtype for meta in mixture._engine.source.metadata()} == {torch.float64}


def test_without_vllm_it_says_what_is_needed(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"NCCLTransfer needs vLLM 0\.32 where the policy is"):
        NCCLTransfer().send(model, f"http://127.0.0.1:{free_port()}")


def test_a_name_without_a_way_is_told():
    assert own_address("http://localhost:8000") in ("127.0.0.1", "::1")
    with pytest.raises(EnvironmentFailure, match=r"model\.engine\.transfer\.address must be given"):
        own_address("http://no-such-host.invalid:8000")
