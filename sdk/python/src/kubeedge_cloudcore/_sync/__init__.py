"""The client that blocks; made of the one for asyncio by scripts/generate.py."""
