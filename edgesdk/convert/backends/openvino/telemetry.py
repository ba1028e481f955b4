"""Import this before openvino and nncf: what keeps their telemetry and their logger class off.

Importing openvino writes a client id to ~/intel and sends an event, and NNCF sends one for each
quantization. Their consent file would be the user's to write, not ours, so nothing is asked there:
the adapter makes the telemetry package unavailable, which both take as an installation without it.
"""

from __future__ import annotations

import device_agent.runtimes.openvino  # noqa: F401 - turns the telemetry of openvino off

# isort: split
import logging
import os

# For a process that had imported openvino with its telemetry before us: NNCF's own switch, which it
# reads while it is imported.
os.environ.setdefault("NNCF_CI", "1")

LOGGER_CLASS = logging.getLoggerClass()
"""The one in force before NNCF makes its own the default for every logger to come."""
