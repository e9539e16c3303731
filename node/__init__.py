"""A DICOM node that publishes finished studies as FHIR events.

The way of a byte through the package, in order::

    association/    socket -> PDUs -> negotiated contexts -> DIMSE messages     (listener, protocol, receiver)
    services/       one file a DIMSE service: echo, store, find; send/ is the requestor side
    header.py       bounded scan of the data set just written: the raw values of elements.ELEMENTS
    objects/        incoming/ -> objects/{study}/{series}/{instance}.dcm, durable before the answer
    index/          writer takes what landed in batches: rows, study state, deadlines; search answers C-FIND
    extract/        raw values -> attributes                                      (pure)
    completion.py   (study, now) -> wait, complete, amend                         (pure)   clock.py drives it
    assemble/       a study's rows -> model.Study, disagreements settled          (pure)
    fhir/           model.Study -> resource, one file a target; check.py refuses  (pure)
    envelope.py     event id, attributes, size policy                             (pure)
    outbox.py       relay: pending events -> publish/ (NDJSON file or Kafka)

For people: cli.py, config.py, service.py (start, run, stop), metrics.py, logs.py, health.py, web/.
"""
