# Every target is a command of tools/course.py, which makes its own environment. Without make (Windows, Colab):
#   python -m tools.course book
#
#   PYTHON=python3.12     another interpreter (3.11 to 3.13), with an environment of its own (.venv-3.12)
#   FRESH=1               make book: execute every chapter from scratch
#   VENV=folder           where the environment is
#   TORCH_INDEX=url       the wheel index for torch
#   PORT=8000             make serve, make lab

PYTHON ?= python3
export PYTHON FRESH VENV TORCH_INDEX PORT

TARGETS := help book html serve lab notebooks test test-slow student solutions lock clean
.DEFAULT_GOAL := help
.PHONY: $(TARGETS)

$(TARGETS):
	@"$(PYTHON)" -m tools.course $@
