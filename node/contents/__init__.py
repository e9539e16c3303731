"""What stored documents contain, read for one study by a process of its own, bounded in size, time and memory.

``Contents`` (study.py) fills a ``model.Study`` with documents and imaging settings; ``ContentReader``
(reader.py) keeps the processes that child.py is, over ``protocol``; what they read is ``node.content``'s.
"""

from node.contents.reader import ContentReader
from node.contents.study import Contents, slow

__all__ = ["ContentReader", "Contents", "slow"]
