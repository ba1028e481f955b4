"""PyTorch networks for tests, and the functions that a user would give to make them."""

import torch
from torch import nn


class Image(nn.Module):
    """Convolution, depthwise, residual and dense; two outputs of different ranks."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.dense = nn.Linear(8, 5)

    def forward(self, image):
        first = torch.relu(self.first(image))
        second = nn.functional.relu6(self.norm(self.point(self.depthwise(first))))
        both = first + second
        return self.dense(both.mean((2, 3))), both


class Named(nn.Module):
    """Two inputs; outputs in a dictionary whose order is not the alphabet's."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, image, extra):
        found = torch.relu(self.convolution(image))
        return {"total": found.mean((2, 3)) + extra, "map": found}


class Steps(nn.Module):
    """A recurrent network."""

    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(4, 6, batch_first=True)

    def forward(self, series):
        return self.recurrent(series)[0]


class Bessel(nn.Module):
    """Uses an operator that no converter has."""

    def forward(self, values):
        return torch.special.bessel_j0(values)


def image_network():
    torch.manual_seed(0)
    return Image(), (torch.randn(1, 3, 16, 16),)


def named_outputs():
    torch.manual_seed(0)
    return Named(), (torch.randn(1, 3, 16, 16), torch.randn(1, 4))


def unseeded():
    torch.seed()
    return Image(), (torch.randn(1, 3, 16, 16),)


def raises():
    raise RuntimeError("the checkpoint is not there")


def only_the_module():
    return Image()
