"""Alerts out: which sinks hear of what (rules), how they are told (sinks), and that they are, in the end (delivery).

It must never know markets' rules, SQL, gRPC or settings: it speaks `domain.alerts` and reaches the database through
ports of its own. Start reading at `delivery.py` (what one alert goes through), then `direct.py` (without a database).
"""
