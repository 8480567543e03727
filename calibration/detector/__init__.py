"""The people detector: data, training, export and evaluation."""
