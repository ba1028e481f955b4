# The two commands a newcomer needs are `make demo` and `make test`; both set up .venv first.

PYTHON ?= python3
BIN := .venv/bin
DEMO := out/demo

# What the demo needs, and what the tests use besides: the vendors' compilers and runtimes.
LIGHT := .[onnx,litert,virtual,dev]
VENDORS := .[onnx,litert,qualcomm,jetson,openvino,export,dask,labgrid,metrics,mlflow,virtual,dev]
# Frameworks that models come from: some GB, in an environment of their own.
FRAMEWORKS := .[onnx,litert,aimet,keras,torch,torch-litert,virtual,dev]

.PHONY: setup vendors frameworks demo test test-frameworks test-aarch64 test-slow lint lock clean

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

.venv-frameworks/ready: pyproject.toml constraints-frameworks.txt
	$(PYTHON) -m venv .venv-frameworks
	.venv-frameworks/bin/pip install --quiet --disable-pip-version-check -c constraints-frameworks.txt -e "$(FRAMEWORKS)"
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
	.venv-frameworks/bin/python -m pytest -m "network or not network" tests/toolkits

# Real aarch64 code, in an arm64 Debian made on the first run. It needs root, qemu-user-static,
# binfmt-support, mmdebstrap, zstd and the network; without them the tests are skipped.
test-aarch64: vendors
	$(BIN)/python -m pytest -m "aarch64 and not slow" tests/integration

# Power cuts, in an emulated machine made on the first run from Debian packages. It needs
# qemu-system-arm, nbdkit-plugin-python, e2fsprogs, cpio and apt; ten minutes or more.
test-slow: vendors
	$(BIN)/python -m pytest -m slow tests/slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The newest release of everything, for every Python and platform we support. Not so torch-litert,
# whose pins rule out newer Pythons than it knows: it is locked with the frameworks, for one Python.
EXTRAS := onnx litert qualcomm jetson openvino aimet keras torch export dask labgrid metrics mlflow virtual dev
WITH_TORCH_LITERT := onnx litert aimet keras torch torch-litert virtual dev
LOCK := uv pip compile --quiet --upgrade --no-annotate --no-header --python-version 3.11 pyproject.toml
lock:
	$(LOCK) --universal $(EXTRAS:%=--extra %) -o constraints.txt
	$(LOCK) --python-platform x86_64-manylinux_2_36 $(WITH_TORCH_LITERT:%=--extra %) -o constraints-frameworks.txt

clean:
	rm -rf .venv out build dist
