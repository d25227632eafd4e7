# Everything runs in .venv, which is made when missing and renewed when the project's dependencies change.
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: setup repro compare verify test test-gpu test-engines test-image lint warm ui image baseline bench

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# RECIPE=imdb-quick first sets params.yaml to recipes/imdb-quick.yaml.
repro: setup
ifdef RECIPE
	@python -m stages.recipe '$(RECIPE)'
endif
	dvc repro
	@echo
	@dvc metrics show metrics/test.json
	@echo
	@echo "report        reports/report.html"
	@echo "model         models/classifier; reports/model_card.md says how to load it in Python"
	@echo "compare runs  make ui, then open http://127.0.0.1:5000"

# The experiments side by side: what they change, accuracy and seconds. dvc exp show alone has all numbers, also of what `auto` was.
DETAILS := num_train_epochs|learning_rate|loss|rows|temperature|threshold|.*_macro|.*_error|recall_.*|(validation|total|trainable|train_(loop|frozen|peak|samples|tokens))_.*
compare: setup
	@dvc exp show --only-changed --keep 'accuracy|train_seconds' --drop 'Created|Executor|.*/.*|$(DETAILS)'

# Runs the finished pipeline again in a temporary clone, and says of each output whether its bytes are the same.
# STAGE=preprocess stops after that stage.
verify: setup
	python -m stages.verify $(if $(STAGE),--stage $(STAGE))

# Four files of tests at once, each on one core: they wait for servers and locks for half of their time.
test: export OMP_NUM_THREADS := 1
test: setup lint
	python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --ignore tests/engines

# The tests of tests/gpu on a real GPU; in `make test` they run on one that is pretended.
test-gpu: setup
	REAL_GPU=1 python -m pytest tests/gpu

# Labelling on Spark (which needs Java 17 or 21) and Ray, in an environment of its own: they are large.
ENGINES := .venv-engines
test-engines:
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,engines]'
	$(ENGINES)/bin/python -m pytest tests/engines

# The steps of docker/Dockerfile in a fresh environment, where no engine of containers is needed.
test-image: setup
	FRESH_IMAGE=1 python -m pytest -s tests/test_image.py

lint: setup
	ruff check .
	ruff format --check .
	mypy

# Keeps the libraries in memory: while it runs, each stage starts at once.
warm: setup
	python -m stages.warm

ui: setup
	mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db --host 127.0.0.1

# The exported champion as an image; MODEL=models:/<model id> takes another one.
MODEL := models:/text-classifier@champion
image: export MLFLOW_TRACKING_URI ?= sqlite:///mlruns/mlflow.db
image: setup
	rm -rf models/served
	mlflow artifacts download --artifact-uri '$(MODEL)' --dst-path models/served
	docker build -f docker/Dockerfile -t text-classifier .

baseline: setup
	python -m benchmarks.baseline

# An hour on two cores. DATA=aclImdb_v1.tar.gz measures on that archive, else on the demo corpus.
bench: setup
	python -m benchmarks.speed $(if $(DATA),--data $(DATA))
