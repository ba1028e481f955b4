"""Says what a program sees of the machine it runs on, as JSON: sent to the device's own Python."""

import ctypes
import json
import os

_AT_HWCAP, _AT_HWCAP2 = 16, 26
"""Of linux/auxvec.h."""


def _values(key: str) -> list[str]:
    with open("/proc/cpuinfo") as stream:
        rows = (line.partition(":") for line in stream)
        return [value.strip() for name, _, value in rows if name.strip() == key]


def _auxiliary(kind: int) -> int:
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return int(getauxval(kind))


if __name__ == "__main__":
    processors = "/sys/devices/system/cpu/present"
    features = _values("Features")
    seen = {
        "machine": os.uname().machine,
        "qemu_cpu": os.environ.get("QEMU_CPU", ""),
        "cpus": len(os.sched_getaffinity(0)),
        "sysfs": os.path.exists(processors),
        "sysfs_writable": not os.statvfs("/sys").f_flag & os.ST_RDONLY,
        "parts": sorted(set(_values("CPU part"))),
        "features": features[0].split() if features else [],
        "hwcap": _auxiliary(_AT_HWCAP),
        "hwcap2": _auxiliary(_AT_HWCAP2),
    }
    print(json.dumps(seen))
