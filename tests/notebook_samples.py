"""Small notebooks for the tests of the tools."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def markdown(text: str, **metadata: Any) -> Json:
    return {"cell_type": "markdown", "id": "m", "metadata": metadata, "source": text}


def code(text: str, **metadata: Any) -> Json:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": "c",
        "metadata": metadata,
        "outputs": [],
        "source": text,
    }


def notebook(*cells: Json, **metadata: Any) -> Json:
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def stream(text: str) -> Json:
    return {"output_type": "stream", "name": "stdout", "text": text}


def picture(data: str) -> Json:
    return {"output_type": "display_data", "metadata": {}, "data": {"image/png": data, "text/plain": "<Figure>"}}
