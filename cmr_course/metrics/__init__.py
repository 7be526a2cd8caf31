"""Image quality, and the records in which results are kept."""
