"""The composition root: settings, wiring, the command line, and what `zmart up` starts.

Nobody imports this package, and no rule of the product may live here.
Start with `cli.py` for what can be run, and `wiring.py` for how the parts are joined.
"""
