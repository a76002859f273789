"""How fast rxplus is, beside plain ``websockets`` and others, doing the same work.

Run ``python -m benchmarks --help``. What each number means is in ``docs/performance.md``.
"""
