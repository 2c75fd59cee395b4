# What results/ keeps of a GPU, taken again: make -f studies/evidence.mk lightning OUT=/tmp/new BUDGET=20m
# Every target goes on where it was stopped. After BUDGET (sweeps of suites and claims) or STOP_AFTER seconds
# (the faulty sweep) it ends by itself: run it again for the rest. On another machine of the same model:
# MORE=--other-environment. What is kept afterwards is a choice: lbench filter, merge and validate.
PYTHON ?= python
OUT ?= runs/evidence
BUDGET ?=
STOP_AFTER ?=
MORE ?=

LBENCH = $(PYTHON) -m lbench
STUDY = $(PYTHON) $(dir $(lastword $(MAKEFILE_LIST)))
GO_ON = --resume $(MORE)
WITHIN = $(addprefix --budget ,$(BUDGET))

SUITES = headline lightning decode models-train models-train-more models-fast models-serve models-common
CLAIMS = la2-table1 authors-kernels tfla-h100
STUDIES = timing faulty mutants planted sanitizer
PROFILED = b1,t131072,h16,d128,bf16,cuda

.PHONY: $(SUITES) $(CLAIMS) $(STUDIES) gate frontier profiles tests

$(SUITES):
	$(LBENCH) run $@ --out $(OUT)/$@ $(GO_ON) $(WITHIN)

$(CLAIMS):
	$(LBENCH) claims run $@ --out $(OUT)/$@ $(GO_ON) $(WITHIN)

# Five processes: a baseline of fewer cannot tell a difference from the luck of one.
gate:
	for number in 1 2 3 4 5; do $(LBENCH) run gate --out $(OUT)/gate/$$number $(GO_ON) || exit; done

frontier:
	$(LBENCH) frontier --out $(OUT)/frontier $(GO_ON)

profiles:
	$(LBENCH) profile $(foreach name,triton authors fla_chunk,lightning_$(name),fwdbwd,$(PROFILED)) \
		--ncu --triton --memory --out $(OUT)/profiles

timing:
	$(STUDY)timing.py --out $(OUT)/timing-study

faulty:
	$(STUDY)faulty_sweep.py $(OUT)/faulty-sweep $(addprefix --stop-after ,$(STOP_AFTER)) \
		$(if $(wildcard $(OUT)/faulty-sweep),--resume)

# The others are found without a GPU: $(STUDY)mutants.py --device cpu
mutants:
	$(STUDY)mutants.py --device cuda --rest --out $(OUT)/mutants

planted:
	$(STUDY)planted.py $(OUT)/planted

sanitizer:
	$(STUDY)sanitizer.py

tests:
	$(PYTHON) -m pytest -q -m gpu
