"""Computes with the C library what `model.language_model` and `model.optimizer` define in numpy: the same functions, many times as fast."""
