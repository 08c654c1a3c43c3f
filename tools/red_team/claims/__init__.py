"""What lipviz claims, and how each claim is attacked: one module for each.

A claim has a name, draws what it needs (`draw`), and checks it (`check`), which raises a `FaultError`.
"""

from tools.red_team.claims import arithmetic, bound, factor, inference, near, radius, round_trip

CLAIMS = {module.NAME: module for module in (bound, radius, near, arithmetic, round_trip, factor, inference)}
