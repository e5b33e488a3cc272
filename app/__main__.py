"""`python -m app` is `zmart`."""

from app.cli import main

main()
