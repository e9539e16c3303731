"""Receiving in processes of its own: several of them accept on one listening socket, and hand what they stored
to the one process that owns index, clock, outbox, metrics and web.

A receiver keeps nothing that a crash could lose: an object's file is the truth. The record of it follows within
30 ms, and at once when somebody asks for what was answered; of a receiver that dies the owner looks for the files.
So that costs its open associations, what it had counted in its last 50 ms, and nothing else.

channel     framed messages and calls over a socket pair
board       the few numbers that all processes must see at once
nursery     forks receivers from a process that has no threads
successor   does so in an interpreter of its own, when that process has gone
worker      a receiver process
pool        the owner's side: starts them, reads what they hand over, starts another when one dies
desk        the index, as the pool and the associations of a node without receivers see it
listening   the listener with its services, as both ways of running need it

Who waits for whom, so that nothing can wait in a circle: a receiver's associations wait for the owner (a record is
told, a call is answered); the owner's reading threads wait for nobody; its other threads wait for receivers with a
deadline, and one that does not answer is passed over, then ended.
"""
