"""Write small `torch.export` programs into a folder: `python make_torch.py <folder>`."""

import sys
from pathlib import Path

import torch
from networks_torch import Bessel, Steps, image_network, named_outputs

folder = Path(sys.argv[1])
dim = torch.export.Dim("batch", min=1, max=8)


def save(name, module, inputs, **options):
    torch.export.save(torch.export.export(module, inputs, **options), folder / name)


module, inputs = image_network()
save("net.pt2", module.eval(), inputs)
module, inputs = named_outputs()
save("named.pt2", module.eval(), inputs)
pairs = tuple(torch.cat([each, each]) for each in inputs)
save("open.pt2", module.eval(), pairs, dynamic_shapes=({0: dim}, {0: dim}))
save("training.pt2", image_network()[0].train(), image_network()[1])
save("steps.pt2", Steps().eval(), (torch.randn(1, 10, 4),))
save("bessel.pt2", Bessel().eval(), (torch.randn(1, 4),))
torch.save(module, folder / "pickled.pt2")
