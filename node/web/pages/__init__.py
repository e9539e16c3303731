"""The status page and its neighbours: made on the server, renewed by server-sent events.

``loads.py`` asks ``WebServices`` for what a page shows, ``views.py``, ``held.py``, ``chart.py``, ``tree.py`` and
``actions.py`` turn it into what the templates need (pure), ``routes.py`` serves, ``live.py`` tells who watches.
"""
