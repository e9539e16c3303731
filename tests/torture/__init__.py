"""Kill the node again and again under load, and look after each start whether it has kept its word.

``python -m tests.torture --cycles 200`` (``make torture``) prints what was acknowledged, lost and published, and
exits 1 on any violation. The same in short is tests/scenarios/test_faults_kill.py.

    supply.py    what is sent: new objects, the same again, other bytes under a known UID; who was answered what
    clients.py   four clients that have nothing in common but the protocol
    audit.py     what must hold: after each start, and at the end
    cycles.py    starts, kills, starts again
"""
