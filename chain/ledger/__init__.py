"""A local Solana ledger: JSON-RPC for unmodified clients over byte-exact zmart_core accounts; no validator.

It must never be trusted as consensus, and nothing outside this package may reach into its state except over RPC.
Start with `bank.py` (the chain), `zmart/` (the program), `server.py` (the shell).
"""

from chain.ledger.node import LedgerRefused
from chain.ledger.seeding import ResolvingMarket, seed_resolving
from chain.ledger.server import Ledger, running_ledger, serve
from chain.ledger.settings import LedgerSettings

__all__ = ["Ledger", "LedgerRefused", "LedgerSettings", "ResolvingMarket", "running_ledger", "seed_resolving", "serve"]
