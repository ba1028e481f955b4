from dataclasses import dataclass


@dataclass(frozen=True)
class Delta_:
    codec: str
    patch: bytes


def make_delta(old: bytes, new: bytes) -> Delta_:
    return Delta_("bytes-delta", b"")
