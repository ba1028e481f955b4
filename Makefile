# The two commands a newcomer needs are `make demo` and `make test`; both set up .venv first.

PYTHON ?= python3
BIN := .venv/bin
DEMO := out/demo

# What the demo needs, and what the tests use besides: the vendors' compilers and runtimes.
LIGHT := .[onnx,litert,virtual,dev]
VENDORS := .[onnx,litert,qualcomm,jetson,openvino,virtual,dev]
# Frameworks that models come from: some GB, in an environment of their own.
FRAMEWORKS := .[onnx,litert,aimet,keras,torch,virtual,dev]

.PHONY: setup vendors frameworks demo test test-frameworks lint lock clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("edgesdk needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e "$(LIGHT)"
	@touch $@

vendors: .venv/vendors

.venv/vendors: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e "$(VENDORS)"
	@touch $@

frameworks: .venv-frameworks/ready

.venv-frameworks/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-frameworks
	.venv-frameworks/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e "$(FRAMEWORKS)"
	@touch $@

# The whole product on the built-in example: a virtual device is started, used, and stopped.
demo: setup
	$(BIN)/edgesdk device emulate --name demo -- \
		$(BIN)/edgesdk deploy --project examples/digits/edgesdk.toml --device demo -o $(DEMO)
	@echo "The whole story is in $(DEMO)/report.html"

test: vendors
	$(BIN)/python -m pytest

# Models from TensorFlow and PyTorch, and the toolkits that live in environments of their own.
test-frameworks: frameworks
	.venv-frameworks/bin/python -m pytest tests/toolkits

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The newest release of everything, for every Python and platform we support. Not torch-litert: its
# pins rule out newer Pythons than it knows.
EXTRAS := onnx litert qualcomm jetson openvino aimet keras torch virtual dev
lock:
	uv pip compile --quiet --universal $(EXTRAS:%=--extra %) --upgrade --no-annotate --no-header \
		--python-version 3.11 pyproject.toml -o constraints.txt

clean:
	rm -rf .venv out build dist
