# SPDX-License-Identifier: Apache-2.0
"""The parts of generate.py: the document, its lint, the C model, the manual."""
