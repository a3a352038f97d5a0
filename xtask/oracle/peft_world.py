"""Adapters of the default world model to and from Hugging Face's PEFT.

python peft_world.py check MODEL ADAPTER BAKED   loads ADAPTER, and compares with the graph that it was baked into
python peft_world.py train MODEL ADAPTER         trains one by PEFT, and saves it

The network is PyTorch's own (sepflow.py), under the names that its modules have in the ONNX file.
"""

import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model

import onnx_torch
import sepflow

# Relative to the largest value.
ERROR_MAX = 1e-5


class Layers:
    """`enc1_0` by its name in the file: `enc1.0`."""

    def __init__(self, network):
        self.network = network

    def __getitem__(self, name):
        return self.network.get_submodule(name.replace("_", "."))


class Named(sepflow.Sepflow):
    layers = property(Layers)


def network(path):
    net = sepflow.Sepflow().load(path)
    layers = dict(net.layers.items())
    del net.layers
    for name, layer in layers.items():
        *folder, leaf = name.split("_")
        at = net
        for part in folder:
            if not hasattr(at, part):
                at.add_module(part, torch.nn.Module())
            at = getattr(at, part)
        at.add_module(leaf, layer)
    net.__class__ = Named
    return net


def clips(seed):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(2, 5, 3, 64, 128, generator=generator)
    return frames[:, :4].contiguous(), torch.rand(2, 2, generator=generator), frames[:, 4]


def check(model, adapter, baked):
    net = PeftModel.from_pretrained(network(model), adapter).eval()
    sites = sum(name.endswith("lora_A") for name, _module in net.named_modules())
    frames, motion, _next = clips(1)
    graph = onnx_torch.Graph(baked)
    with torch.no_grad():
        theirs = net(frames, motion)
        ours = torch.cat([
            graph.run({"frames": frames[i:i + 1], "motion": motion[i:i + 1]})["next"] for i in range(2)
        ])
        plain = network(model)(frames, motion)
    changed = ((theirs - plain).abs().max() / plain.abs().max()).item()
    error = ((theirs - ours).abs().max() / theirs.abs().max()).item()
    print(f"{sites} sites change outputs by {changed:.1e}; by PEFT and baked they differ by {error:.1e} of the largest")
    if not changed > 100 * ERROR_MAX or not error <= ERROR_MAX:
        sys.exit(f"at most {ERROR_MAX:.0e} was allowed, and at least {100 * ERROR_MAX:.0e} had to change")


def train(model, adapter):
    torch.manual_seed(2)
    net = network(model)
    targets = [name for name, module in net.named_modules() if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))]
    config = LoraConfig(r=6, lora_alpha=9, target_modules=targets, rank_pattern={"head": 3}, alpha_pattern={"motion": 4})
    net = get_peft_model(net, config)
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=5e-3)
    for seed in range(4):
        frames, motion, following = clips(seed)
        loss = ((net(frames, motion) - following) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.save_pretrained(adapter)
    print(f"{len(targets)} sites trained by PEFT")


if __name__ == "__main__":
    {"check": check, "train": train}[sys.argv[1]](*sys.argv[2:])
