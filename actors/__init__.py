"""One market, one actor: the processes, shards and market actors that decide every command, on Thespian.

It must never know gRPC, Solana, SQL or a wall clock: it speaks domain types and reaches the rest through its own ports.
Start reading at `hardening.py` (why the library is patched before anything else runs).
"""
