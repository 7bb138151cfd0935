"""Figures, made beside a limit measured in the same run; nothing here is a test."""
