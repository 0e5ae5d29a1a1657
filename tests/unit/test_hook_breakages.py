"""What is known to break smdebug's own hook, and does not break ours.

smdebug keeps state in its module, so one Python of its own runs all cases; stock smdebug runs in another, over the
same steps, to compare bits.
"""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., Any]

COMMON = """
import copy, json, logging, pickle, sys, warnings
from pathlib import Path
import torch
from torch import nn
from torchvision import models

logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
torch.set_num_threads(1)
folder = Path(sys.argv[1])
collections = [
    {"CollectionName": name, "CollectionParameters": parameters}
    for name, parameters in {
        "losses": None, "weights": None, "gradients": None, "biases": None,
        "relu_input": {"include_regex": ".*relu_input"}, "relu_output": {"include_regex": ".*relu_output"},
        "all_inputs": {"include_regex": ".*_input_.*"},
    }.items()
]

def config(name, **parameters):
    return {"LocalPath": str(folder / name), "HookParameters": {"save_interval": "2", **parameters},
            "CollectionConfigurations": collections}

def network(inplace=True):
    torch.manual_seed(0)
    net = models.resnet18(num_classes=3)
    for part in net.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = inplace
    return net

torch.manual_seed(1)
inputs, targets = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
"""
OURS = (
    COMMON
    + """
from image_classifier.contract import Layout
from image_classifier.insight import hook

def start(name, net, steps_done=0, content=None):
    base = folder / f"{name}_base"
    (base / "input/config").mkdir(parents=True)
    (base / "input/config/debughookconfig.json").write_text(json.dumps(content or config(name)))
    made = hook.create(Layout(base), hook.Wishes())
    loss = nn.CrossEntropyLoss()
    made.start(net, loss, hook.Course(4, 1, 1, steps_done=steps_done))
    return made, loss

def learn(made, net, loss, optimizer, factor=1.0):
    with made.step(training=True):
        value = loss(net(inputs), targets)
        optimizer.zero_grad()
        (value * factor).backward()
        for parameter in net.parameters():  # what GradScaler.step does before the update
            if factor != 1.0 and parameter.grad is not None:
                parameter.grad /= factor
        optimizer.step()
    return float(value.detach())

def hooks(net):
    return sum(len(p._forward_hooks) + len(p._forward_pre_hooks) for p in net.modules()) + sum(
        len(p._backward_hooks or ()) for p in net.parameters())

answer = {}
net = network()
made, loss = start("ours", net)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for number in range(4):
    learn(made, net, loss, optimizer)
    with torch.inference_mode():
        net.eval()(inputs)  # an extra forward pass
    net.train()
    answer.setdefault("hooks", []).append(hooks(net))
copied = copy.deepcopy(net)
copied(inputs)
answer["exported"] = bool(torch.export.export(net.eval(), (inputs,)))
answer["scripted"] = bool(torch.jit.trace(net, inputs))
torch.save(net, folder / "net.pt")
answer["inplace"] = all(p.inplace for p in net.modules() if isinstance(p, nn.ReLU))
with made.step(training=False):
    with torch.inference_mode():
        logits = net(inputs)
    loss(logits, targets)
made.close()

net = network()
net.requires_grad_(False)
net.fc.requires_grad_(True)
made, loss = start("unfrozen", net, content=config("unfrozen", save_interval="1"))
learn(made, net, loss, torch.optim.SGD(net.fc.parameters(), lr=0.01))
net.requires_grad_(True)
learn(made, net, loss, torch.optim.SGD(net.parameters(), lr=0.01))
made.close()

net = network()
made, loss = start("scaled", net)
learn(made, net, loss, torch.optim.SGD(net.parameters(), lr=0.01), factor=1024.0)
made.close()

net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)).bfloat16()
inputs = torch.randn(4, 4, dtype=torch.bfloat16)
made, loss = start("bfloat16", net)
learn(made, net, loss, torch.optim.SGD(net.parameters(), lr=0.01))
made.close()

class Broken(nn.Module):  # smdebug cannot save what it gives
    def forward(self, values):
        return values

net = nn.Sequential(nn.Linear(4, 3), Broken())
inputs = torch.randn(4, 4)
made, loss = start("failing", net)
made._observer.part._adapter._write_inputs = lambda *_: 1 / 0
answer["after an error"] = [learn(made, net, loss, torch.optim.SGD(net.parameters(), lr=0.1)) for _ in range(3)]
answer["hooks after an error"] = hooks(net)
made.close()
print("answer:" + json.dumps(answer))
"""
)
STOCK = (
    COMMON
    + """
import smdebug.pytorch as smd

def run(name, net):
    (folder / f"{name}.json").write_text(json.dumps(config(name)))
    made = smd.Hook.create_from_json_file(str(folder / f"{name}.json"))
    loss = nn.CrossEntropyLoss()
    made.register_module(net)
    made.register_loss(loss)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    made.set_mode(smd.modes.TRAIN)
    for number in range(4):
        value = loss(net(inputs), targets)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    made.set_mode(smd.modes.EVAL)
    net.eval()
    with torch.inference_mode():
        loss(net(inputs), targets)
    made.close()

run("stock", network(inplace=False))
from smdebug.trials import create_trial
tensors = {}
for name in ("stock", *sys.argv[2:]):
    trial = create_trial(str(folder / name))
    tensors[name] = {
        (tensor, mode.name, step): trial.tensor(tensor).value(step, mode=mode)
        for mode in (smd.modes.TRAIN, smd.modes.EVAL)
        if mode in trial.mode_to_tensors_map
        for tensor in trial.tensor_names(mode=mode)
        for step in trial.tensor(tensor).steps(mode=mode)
    }
(folder / "tensors.pickle").write_bytes(pickle.dumps(tensors))
"""
)
Tensors = dict[tuple[str, str, int], "np.ndarray[Any, Any]"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, python: Run) -> tuple[dict[str, Any], str, dict[str, Tensors]]:
    """Answers and log of our hook's cases, and the tensors of all runs as smdebug reads them."""
    folder = tmp_path_factory.mktemp("breakages")
    ours = python("-c", OURS, str(folder))
    assert ours.returncode == 0, ours.stdout + ours.stderr
    stock = python("-c", STOCK, str(folder), "ours", "unfrozen", "scaled", "bfloat16")
    assert stock.returncode == 0, stock.stdout + stock.stderr
    answer = json.loads(next(line for line in ours.stdout.splitlines() if line.startswith("answer:"))[7:])
    return answer, ours.stdout, pickle.loads((folder / "tensors.pickle").read_bytes())


def test_every_tensor_has_the_bits_of_the_stock_hook(ran: tuple[Any, str, dict[str, Tensors]]) -> None:
    stock, ours = ran[2]["stock"], ran[2]["ours"]
    assert len(stock) > 500
    assert ours.keys() == stock.keys()
    assert [key for key in stock if not _same(stock[key], ours[key])] == []


def _same(a: "np.ndarray[Any, Any]", b: "np.ndarray[Any, Any]") -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_relu_inputs_are_what_went_in_although_it_works_in_place(ran: tuple[Any, str, dict[str, Tensors]]) -> None:
    ours = ran[2]["ours"]
    before, after = (ours[f"layer1.0.relu_{side}_0", "TRAIN", 0] for side in ("input", "output"))
    assert (before < 0).any()
    assert np.array_equal(before.clip(min=0), after)
    assert ran[0]["inplace"]


def test_between_steps_nothing_hangs_on_the_network(ran: tuple[dict[str, Any], str, Any]) -> None:
    answer = ran[0]
    assert answer["hooks"] == [0, 0, 0, 0]
    assert answer["exported"]
    assert answer["scripted"]


def test_an_extra_forward_pass_is_no_step(ran: tuple[Any, str, dict[str, Tensors]]) -> None:
    assert sorted({step for _, mode, step in ran[2]["ours"] if mode == "TRAIN"}) == [0, 2]


def test_parameters_that_are_unfrozen_later_are_recorded(ran: tuple[Any, str, dict[str, Tensors]]) -> None:
    steps = {step for name, _, step in ran[2]["unfrozen"] if name == "gradient/ResNet_conv1.weight"}
    head = {step for name, _, step in ran[2]["unfrozen"] if name == "gradient/ResNet_fc.weight"}
    assert (steps, head) == ({1}, {0, 1})


def test_gradients_are_saved_without_the_factor_of_a_gradient_scaler(ran: tuple[Any, str, dict[str, Tensors]]) -> None:
    plain, scaled = (ran[2][name]["gradient/ResNet_fc.weight", "TRAIN", 0] for name in ("ours", "scaled"))
    np.testing.assert_allclose(scaled, plain, rtol=1e-3, atol=1e-7)


def test_bfloat16_is_saved_as_float32(ran: tuple[Any, str, dict[str, Tensors]]) -> None:
    assert {values.dtype for values in ran[2]["bfloat16"].values()} <= {np.dtype("float32"), np.dtype("int64")}
    assert ("gradient/Sequential_0.weight", "TRAIN", 0) in ran[2]["bfloat16"]


def test_an_error_within_a_forward_pass_is_one_line_and_training_goes_on(ran: tuple[dict[str, Any], str, Any]) -> None:
    answer, printed, _ = ran
    assert len(answer["after an error"]) == 3
    assert answer["hooks after an error"] == 0
    off = [line for line in printed.splitlines() if " off (" in line]
    assert off == ["SageMaker Debugger: hook off (ZeroDivisionError: division by zero)."]
    assert "Traceback" not in printed


DISTRIBUTED = (
    COMMON
    + """
import os
import torch.distributed as dist
import torch.multiprocessing as mp
from image_classifier.insight import adapter, collections as ours
from image_classifier.insight.observe import Observer

def work(rank):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[2], RANK=str(rank), WORLD_SIZE="2")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    net, loss = nn.Linear(4, 3), nn.CrossEntropyLoss()
    wrapped = nn.parallel.DistributedDataParallel(net)
    content = config("distributed", include_workers="all")
    content["CollectionConfigurations"] = [{"CollectionName": n} for n in ("losses", "gradients")]
    hook = adapter.Adapter.open(content, ours.known(net, loss))
    hook.count_from(0, 0)
    observer = Observer(hook, net, loss, lambda action: action())
    torch.manual_seed(rank)
    observer.begin(True)
    loss(wrapped(torch.randn(4, 4)), targets).backward()
    observer.end()
    torch.save(net.weight.grad, folder / f"gradient{rank}.pt")
    observer.close()
    dist.destroy_process_group()

if __name__ == "__main__":
    context = mp.get_context("fork")
    workers = [context.Process(target=work, args=(rank,)) for rank in range(2)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert [worker.exitcode for worker in workers] == [0, 0]
    from smdebug.trials import create_trial
    trial = create_trial(str(folder / "distributed"))
    saved = [trial.tensor("gradient/Linear_weight").value(0, worker=f"worker_{rank}") for rank in range(2)]
    meant = [torch.load(folder / f"gradient{rank}.pt").numpy() for rank in range(2)]
    pairs = [*zip(saved, meant), saved]
    print("answer:" + json.dumps([bool((a == b).all()) for a, b in pairs]))
"""
)


def test_of_several_processes_each_saves_the_gradient_that_all_agreed_on(tmp_path: Path, python: Run) -> None:
    done = python("-c", DISTRIBUTED, str(tmp_path), str(29500 + hash(str(tmp_path)) % 1000))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "answer:[true, true, true]" in done.stdout
