"""Figures from rows; needs no GPU and no torch."""
