"""What makes a start cheap: work that most short-lived processes never need, done when it is.

A worker lives for a fraction of a second and uses a third of what it imports. Until then a class
costs a tenth of a standard dataclass, and a pattern nothing.
"""

from nodeward.lazy.pattern import pattern
from nodeward.lazy.values import dataclass

__all__ = ["dataclass", "pattern"]
