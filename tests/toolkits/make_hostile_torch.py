"""Write programs that act on a file, and one that looks alike and does not:
`python make_hostile_torch.py <folder> <victim>`."""

import sys
from pathlib import Path

import torch
from torch import nn

folder, victim = Path(sys.argv[1]), sys.argv[2]


class Writes(nn.Module):
    """Maps the user's file into memory and copies its input there."""

    def forward(self, values):
        mapped = torch.ops.aten.from_file(victim, True, 4)
        return torch.ops.aten.copy_(mapped, values) + 1


class Honest(nn.Module):
    """Convolution, in-place activation, attention, resizing, recurrence, index, einsum."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish(True))
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.recurrent = nn.LSTM(8, 6, batch_first=True)
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.dense = nn.Sequential(nn.Dropout(), nn.Linear(6, 5), nn.GELU("tanh"))
        self.register_buffer("order", torch.tensor([2, 1, 0]))

    def forward(self, image):
        with torch.no_grad():
            image = image[:, self.order] / 127.5 - 1
        image = nn.functional.interpolate(image, scale_factor=2.0, mode="bilinear")
        found = self.pool(nn.functional.pad(self.first(image), (1, 1, 1, 1), "reflect"))
        found = self.norm(found.flatten(2).transpose(1, 2))
        found = found + self.attention(found, found, found, need_weights=False)[0]
        found = torch.einsum("bnc,bmc->bnm", found, found).softmax(-1) @ found
        return self.dense(torch.div(self.recurrent(found)[0][:, -1], 2, rounding_mode=None))


def save(name, module, values):
    torch.export.save(torch.export.export(module.eval(), (values,)), folder / name)


# PyTorch exports no program that maps a file; one that has been told the shape passes.
known = torch.library.Library("aten", "IMPL")
known.impl("from_file", lambda *_, **__: torch.empty(4, device="meta"), "Meta")
Path(victim).write_bytes(bytes(16))
save("file.pt2", Writes(), torch.ones(4))
save("honest.pt2", Honest(), torch.randn(1, 3, 16, 16))
