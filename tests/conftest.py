"""What holds for all tests."""

import os

from hypothesis import settings

# Machines stall: how long an example takes decides nothing. In CI the same examples are tried each time, so
# that a red run is about the change that it ran for; new ones are tried at every desk.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
