"""An independent verifier, written from FORMAT.md. `verify.py` beside it runs it."""
