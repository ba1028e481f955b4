"""The agent that runs on the device: standard library only, Python 3.7 and up, shipped as a zipapp.

It installs packages, runs models and reports raw measurements. It judges nothing: verdicts are made
on the workstation.
"""

VERSION = "0.1.0"
