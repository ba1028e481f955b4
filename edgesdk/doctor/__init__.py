"""A device compared with its target and its package: pure, and apart from `validate`, which runs
models. Nothing here visits a device or reads a file."""
