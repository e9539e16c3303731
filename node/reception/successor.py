"""Forks receivers in the place of a nursery that has gone: ``python -m node.reception.successor SOCKET PROGRAM``.

Both are numbers of descriptors that it inherits: the socket to the owner, and what receivers run.
"""

from __future__ import annotations

import pickle
import socket
import sys

from node.reception.nursery import LOADED, serve, settle


def main(owner: int, program: int) -> None:
    """Until the owner has gone."""
    with open(program, "rb") as file:
        file.seek(0)  # where the owner has stopped writing
        run, prepare = pickle.load(file)
    prepare()
    settle()
    with socket.socket(fileno=owner) as sock:
        sock.sendall(LOADED)
        serve(sock, run)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
