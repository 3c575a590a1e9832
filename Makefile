# Lykta. `make` alone lists what there is.
SHELL := /bin/bash
BIN := .venv/bin
PARTS := agent central drivers privacy provisioning
SECONDS_OF_DEMO ?= 60
# Many tests wait for a service: one more at a time than there are processors.
TESTERS ?= $(shell echo $$(( $$(nproc) + 1 )))

.PHONY: help setup setup-pi demo check test test-faults-full test-collect-full test-root test-container test-root-full test-powercut test-powercut-full test-mutations test-vm test-pi test-arm64 attack fuzz evaluate evaluate-far bench bench-boot bench-store bench-fleet schema lock clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: ## system packages (root or sudo), .venv/ from hash-locked requirements, model files, demo video
	@provisioning/setup/setup.sh packages venv models

setup-pi: setup ## on a Raspberry Pi: picamera2 into .venv/, which then sees the system's libcamera
	@provisioning/setup/setup.sh pi

demo: setup ## the whole node and a small centre on this machine for 60 s, on real pedestrian video
	@$(BIN)/lykta demo --seconds $(SECONDS_OF_DEMO) --dir out/demo

check: ## format, lint, types, layers, dead code, unit files
	@provisioning/setup/setup.sh packages venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	@! find systemd -name '*.py' | grep . || { echo 'error: Python in systemd/'; exit 1; }

test: setup ## all tests that need no root
	@provisioning/setup/setup.sh tests
	@$(BIN)/pytest -q -n $(TESTERS) --dist worksteal

test-faults-full: setup ## a million frames of random faults, judged at the encoder (about six minutes)
	@LYKTA_FAULT_FRAMES=1000000 $(BIN)/pytest -q tests/privacy/masking/test_faults.py

test-collect-full: setup ## `kill -9` of the collector and of one of two replicas at 60 random moments (about five minutes)
	@provisioning/setup/setup.sh tests
	@LYKTA_COLLECT_KILLS=60 LYKTA_COLLECT_SEED=$${LYKTA_COLLECT_SEED:-$$RANDOM} $(BIN)/pytest -q tests/central/collect/test_replicas.py

test-root: setup ## the tests that need root: bad disks, and nodes that boot in a container (about four minutes; the first time two more)
	@[ "$$(id -u)" != 0 ] || provisioning/setup/setup.sh powercut container
	@unshare --mount --pid --fork --kill-child --mount-proc env LYKTA_ALONE=1 $(BIN)/pytest -q tests/root tests/container

test-container: setup ## of these the container suite alone: boot, hang, probes from inside each unit, broken nodes
	@[ "$$(id -u)" != 0 ] || provisioning/setup/setup.sh container
	@unshare --mount --pid --fork --kill-child --mount-proc env LYKTA_ALONE=1 $(BIN)/pytest -q tests/container

test-root-full: setup ## the same, and `kill -9` at every step of the store instead of at some (about six minutes)
	@[ "$$(id -u)" != 0 ] || provisioning/setup/setup.sh powercut
	@unshare --mount --pid --fork --kill-child --mount-proc env LYKTA_ALONE=1 LYKTA_KILLS=all \
		$(BIN)/pytest -q tests/root tests/container tests/whole/test_storage_faults.py

test-powercut: setup ## 500 states that a power cut could have left of the store, on real ext4 (root)
	@[ "$$(id -u)" != 0 ] || provisioning/setup/setup.sh powercut
	@$(BIN)/python -m tests.powercut.replay --states 500

test-powercut-full: setup ## 4,000 of them, of a longer run (root; three to five minutes)
	@[ "$$(id -u)" != 0 ] || provisioning/setup/setup.sh powercut
	@$(BIN)/python -m tests.powercut.replay --states 4000 --rounds 24 --seed 2

test-mutations: setup ## take one sync, link or rule out of the code at a time: some test must fail each time [ONLY=quick|TEXT EVERY=N] (root)
	@[ "$$(id -u)" != 0 ] || provisioning/setup/setup.sh powercut
	@$(BIN)/python -m tests.mutations.run $(if $(ONLY),--only "$(ONLY)") $(if $(EVERY),--every $(EVERY))

test-vm: setup ## a virtual node with a TPM, a hardware watchdog, swap and pins by gpio-sim; log into docs/ (root)
	@[ "$$(id -u)" != 0 ] || provisioning/setup/setup.sh vm
	@$(BIN)/python -m tests.vm.run

test-pi: ## on a real Raspberry Pi with the node installed: the acceptance list, one file to send in (root)
	@$(BIN)/python -m tests.hardware.run --out out/acceptance.json

test-arm64: setup ## the locked packages of a Pi, each imported and used under emulation; log into docs/ (root)
	@[ "$$(id -u)" != 0 ] || provisioning/setup/setup.sh arm64
	@$(BIN)/python -m tests.arm64.run

evaluate: setup ## recall, leaks and over-masking: VIDEO=… LABELS=… [FPS=… PROFILE=…]; alone: the tables of ../shared [CLIPS=…]
	@$(BIN)/python -m tests.bench.evaluate $(if $(VIDEO),--video "$(VIDEO)") $(if $(LABELS),--labels "$(LABELS)") \
		$(if $(FPS),--fps $(FPS)) $(if $(PROFILE),--profile $(PROFILE)) $(if $(FRAMES),--frames $(FRAMES)) \
		$(if $(CLIPS),--clips "$(CLIPS)")

evaluate-far: setup ## how small a person the networks still find: recall by height in their picture (needs ../shared)
	@$(BIN)/python -m tests.bench.far

attack: setup ## how often a trained attacker names people behind fill, silhouette, mosaic and blur (needs ../shared)
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench.attack

fuzz: setup ## any bytes and changed ones into every parser, changed media into `lykta mask`, for half an hour (LYKTA_FUZZ_S seconds)
	@LYKTA_FUZZ_S=$${LYKTA_FUZZ_S:-1800} LYKTA_FUZZ_SEED=$${LYKTA_FUZZ_SEED:-$$RANDOM} $(BIN)/pytest -q -p no:cacheprovider tests/attacks/test_parsers.py tests/attacks/test_media_fuzz.py

bench: setup ## cost per frame beside ffmpeg and deface, memory of the services, latencies: ratios from one run
	@provisioning/setup/setup.sh bench
	@$(BIN)/python -m tests.bench.run

bench-boot: setup ## a booted node: io at rest, a press to the broker, the camera through picamera2 beside a file (root)
	@[ "$$(id -u)" != 0 ] || provisioning/setup/setup.sh container
	@unshare --mount --pid --fork --kill-child --mount-proc env LYKTA_ALONE=1 $(BIN)/python -m tests.bench.boot

bench-store: setup ## sealing, torn and many clips, clips a second at the ingest, megabytes a day to the card (the last as root)
	@$(BIN)/python -m tests.bench.storage
	@$(BIN)/python -m tests.bench.ingest
	@$(BIN)/python -m tests.bench.writes

bench-fleet: setup ## simulated nodes, real broker and collector: lost, delays, CPU [NODES=100,300 FLEET="--tls --database postgresql"]
	@provisioning/setup/setup.sh tests
	@$(BIN)/python -m tests.bench.fleet.run $(if $(NODES),--nodes $(NODES)) $(FLEET)

schema: setup ## write docs/mqtt anew from the message classes
	@$(BIN)/lykta-central schema --output docs/mqtt

lock: ## write requirements/*.txt anew from pyproject.toml (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--extra models --extra dev --no-emit-package lykta pyproject.toml central/pyproject.toml -o requirements/all.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--extra pi pyproject.toml -o requirements/pi.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		requirements/bench.in -o requirements/bench.txt

clean: ## remove .venv/ and out/
	rm -rf .venv out
