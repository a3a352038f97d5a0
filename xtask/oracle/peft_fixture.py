"""Records an adapter as Hugging Face's PEFT writes it: python peft_fixture.py OUT_DIRECTORY

A convolution `enc` and a matrix `head`, rank 4, values (i / 64 - 1) in flat order: A and B of the first, A and
B of the second. Needs `peft` (made with 0.21.2) beside requirements.txt.
"""

import sys

import torch
from peft import LoraConfig, get_peft_model


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = torch.nn.Conv2d(2, 3, 2, bias=False)
        self.head = torch.nn.Linear(27, 5, bias=False)

    def forward(self, x):
        return self.head(self.enc(x).flatten(1))


model = get_peft_model(Model(), LoraConfig(r=4, lora_alpha=16, target_modules=["enc", "head"]))
at = 0
with torch.no_grad():
    for layer in (model.base_model.model.enc, model.base_model.model.head):
        for factor in (layer.lora_A.default.weight, layer.lora_B.default.weight):
            count = factor.numel()
            factor.copy_((torch.arange(at, at + count) / 64 - 1).reshape(factor.shape))
            at += count
model.save_pretrained(sys.argv[1])
