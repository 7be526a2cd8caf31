"""Classical reconstruction: each method a small frozen dataclass behind the one call."""
