"""Property tests of this room: no deadline (a busy machine is not a bug), the same examples every time."""

from hypothesis import settings

settings.register_profile("dubwright", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("dubwright")
