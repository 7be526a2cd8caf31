"""Simulated hearts: anatomy, motion, tissue and views, joined by :func:`simulate`."""
