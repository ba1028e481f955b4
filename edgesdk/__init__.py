"""edgesdk: take a neural network to a named edge device and prove it there."""

__version__ = "0.1.0"
