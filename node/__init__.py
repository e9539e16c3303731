"""A DICOM node that publishes finished studies as FHIR events.

The way of a byte through the package, in order::

    reception/      receiver processes on one listening socket, and how they hand on what they stored
    association/    socket -> PDUs -> negotiated contexts -> DIMSE messages     (listener, protocol, receiver)
    services/       one file a DIMSE service: echo, store, find; send/ is the requestor side
    header.py       bounded scan of the data set just written: the raw values of elements.ELEMENTS; layout.py
                    remembers where they lay before, sharing.py what a series has in common
    objects/        incoming/ -> objects/{study}/{series}/{instance}.dcm, durable before the answer
    index/          writer takes what landed in batches: rows, study state, deadlines; search answers C-FIND
                    by the rules of matching.py (pure)
    extract/        raw values -> attributes                                      (pure)
    completion.py   (study, now) -> wait, complete, amend                         (pure)   clock.py drives it
    publication.py  a version of a study -> its events, in one transaction, through these:
      assemble/     its rows -> model.Study, disagreements settled                (pure)
      contents/     its stored files -> documents and settings of model.Study, read in a process of its own
                    by content/                                                   (pure)
      holding.py    what must not go out as one patient's                         (pure)
      fhir/         model.Study -> resource, one file a target; check/ refuses    (pure)
      envelope.py   event id, attributes, size policy                             (pure)
    outbox.py       relay: pending events -> publish/ (NDJSON file or Kafka)
    retention.py    old, published studies -> their objects deleted, where that is wanted

Who holds it together: service.py (start, run, stop) over parts.py, which makes and connects the parts with
what wiring.py makes of config.py, settings.py and legal.py; recovery.py is what a start and ``reindex`` do first.
For people: cli/ with client.py, demo.py and preview/ (files -> resources, without a node), web/, health.py, and
telemetry.py, which tells metrics.py, logs.py and activity.py (the last hour, who calls) what the parts report;
quarantine/ does what an operator decides on what was not taken; processes.py asks /proc. What all know:
model.py over documents.py and terms.py, errors.py, elements.py, peers.py, timing.py.
"""
