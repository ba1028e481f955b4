"""Programs that run a toolkit in a process of their own.

They are started by path (`python .../jobs <name> <request.json>`), also by the Python of an
isolated environment, so nothing here imports edgesdk: the standard library, numpy and the toolkit
are all they have. What they are asked and what they answer is in `protocol`.
"""
