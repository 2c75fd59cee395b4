"""Backends for lbench that come with another package."""
