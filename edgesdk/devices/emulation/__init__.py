"""Devices that other programs than ours serve: OpenSSH's own server, natively or on aarch64.

The device in a Python process, which needs none of them, is `edgesdk.devices.virtual`.
"""
