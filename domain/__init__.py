"""The rules of a prediction market as pure functions over immutable values.

This package must never await, touch a socket, read a clock or import anything but the standard library.
Start with `market.py`: `decide` says what a command means, `evolve` applies what happened.
"""
