"""Ranges of tensors from one pass over samples, in memory that does not depend on their number."""
