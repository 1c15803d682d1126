"""Sluice from Python: a model, its sessions, and text as it is made. Over the C interface; needs no other package.

    import sluice
    with sluice.Model("~/models/Qwen3-30B-A3B", ram="12G") as model:
        for piece in model.generate("Once upon a time", max_tokens=100):
            print(piece, end="", flush=True)

Threads: different sessions may be used from different threads, one session by one thread at a time.
"""
from ._library import Error, Status, version
from .model import Generation, Model, Session

__all__ = ["Error", "Generation", "Model", "Session", "Status", "version"]
