"""Stands for LiteLLM, which is not installed here: what our callback touches of it."""
