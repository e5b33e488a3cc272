"""The chain's events on their way in: bodies and signatures become event rows, and markets hear of them.

It must never know of Solana's libraries, PostgreSQL or Thespian: it reads history and accounts through `chain`, keeps
everything behind `ports.IndexStore`, and changes no market itself. Start with `ports.py`, then `recorder.py`: the one
transaction in which event, effect and mark are written; `service.py` puts sources and workers around it.
"""
