"""The compilation itself, run as a process of its own: `python -m ...compile_job`.

Arguments: INT8 model, context model to write, SoC number, HTP architecture, and the severity from
which on ONNX Runtime logs (0: everything, 2: warnings). All files are named relative to the working
folder, because the compiler's result depends on how the model is called.
"""

from __future__ import annotations

import device_agent.runtimes.onnxruntime  # noqa: F401 - turns the telemetry of onnxruntime off

# isort: split
import sys

import onnxruntime
import onnxruntime_qnn

PROVIDER = "QNNExecutionProvider"
_DISABLED = ["WeightBiasQuantization"]
"""It quantizes what the recipe keeps in float, with one scale for all channels."""


def main(quantized: str, output: str, soc_model: str, arch: str, severity: str) -> None:
    """Compile."""
    onnxruntime.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == PROVIDER]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = int(severity)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_session_config_entry("ep.context_enable", "1")
    options.add_session_config_entry("ep.context_embed_mode", "0")
    options.add_session_config_entry("ep.context_file_path", output)
    options.add_provider_for_devices(
        devices[:1],
        {
            "backend_type": "htp",
            "soc_model": soc_model,
            "htp_arch": arch,
            "offload_graph_io_quantization": "0",
            "htp_graph_finalization_optimization_mode": "3",
            "enable_htp_prepare_only": "1",
            "enable_framework_op_trace": "1",
            "framework_op_trace_dir": ".",
        },
    )
    onnxruntime.InferenceSession(
        quantized, options, disabled_optimizers=_DISABLED, enable_fallback=0
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
