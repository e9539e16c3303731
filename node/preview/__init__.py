"""What files on disk would be published as: the node's own way from header to checked resource, without a node.

``gather`` (files.py) scans files into studies, ``previews`` (resources.py) makes their resources, view.py shows
how far it is.
"""

from node.preview.files import Gathered, gather
from node.preview.resources import Preview, previews

__all__ = ["Gathered", "Preview", "gather", "previews"]
