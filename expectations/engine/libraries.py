"""Libraries that take long to import, here imported when something of them is first used.

So a module may name them at its head, and its importers pay only for what it uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from expectations.engine.lazy_imports import Deferred

if TYPE_CHECKING:
    import pandas as pd
    import scipy
else:
    pd = Deferred("pandas")  # 0.3 s
    scipy = Deferred("scipy")  # 0.3 s `scipy.special`, 0.6 s `scipy.stats`

__all__ = ["pd", "scipy"]
