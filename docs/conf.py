"""The documentation site: `python -m sphinx -W docs build/docs`, from this repository's own files."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import lbench  # noqa: E402

project = "lbench"
version = release = lbench.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference_pages", "mathml"]
exclude_patterns = ["README.md", "pictures"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
smartquotes = False  # two hyphens are an option's, no dash
default_role = "code"  # docstrings write code in single backticks
autodoc_typehints = "none"  # they stand in the signature
autodoc_member_order = "bysource"
html_theme = "furo"
html_title = "lbench"
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
# Pages fetch nothing from elsewhere: fonts are the reader's own, formulas are MathML.
