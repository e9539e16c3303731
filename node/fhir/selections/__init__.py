"""Selections made of what documents contain: one module a kind, each the table that builds and documents it.

``keyobjects``, ``structures``, ``reports``, ``segmentations`` and ``presentations`` each give the selections of
one document (``selections``) and the elements that are theirs alone (``ROWS``). ``base`` has what they share,
``concepts`` the purposes and profiles of the dicom-sr guide, ``regions`` the graphics.
"""
