"""Generated data: people and vehicles drawn by a seeded program, in the Market-1501 and VeRi
layouts.
"""

from msinet_lab.synthetic.identities import DOMAINS, KINDS, LARGE, SMALL, Recipe, identity_table
from msinet_lab.synthetic.writing import LAYOUTS, generate

__all__ = ["DOMAINS", "KINDS", "LARGE", "LAYOUTS", "SMALL", "Recipe", "generate", "identity_table"]
