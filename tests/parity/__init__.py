"""The course against numbers from published code: see `runner.py`, run with ``python -m tests.parity``."""
