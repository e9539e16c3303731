-- An index as the node made it while its schema was 1, with two published studies and one that is open.
CREATE TABLE meta ("key" VARCHAR NOT NULL, value VARCHAR NOT NULL, PRIMARY KEY ("key"));
CREATE TABLE study (
    uid VARCHAR(64) NOT NULL, state VARCHAR(12) NOT NULL, version INTEGER NOT NULL, revision INTEGER NOT NULL,
    added INTEGER NOT NULL, instances INTEGER NOT NULL, series INTEGER NOT NULL, created_at FLOAT NOT NULL,
    first_at FLOAT NOT NULL, last_at FLOAT NOT NULL, quiet_seconds FLOAT NOT NULL, deadline FLOAT,
    completed_at FLOAT, completion VARCHAR(12), "conflict" VARCHAR, calling_aes VARCHAR NOT NULL,
    patient_id VARCHAR NOT NULL, patient_issuer VARCHAR NOT NULL, patient_name_key VARCHAR NOT NULL,
    study_date VARCHAR NOT NULL, study_time VARCHAR NOT NULL, accession VARCHAR NOT NULL,
    study_id VARCHAR NOT NULL, modalities VARCHAR NOT NULL, sop_classes VARCHAR NOT NULL,
    attributes BLOB NOT NULL, PRIMARY KEY (uid)
);
CREATE INDEX study_name ON study (patient_name_key);
CREATE INDEX study_date ON study (study_date);
CREATE INDEX study_patient ON study (patient_id);
CREATE INDEX study_accession ON study (accession);
CREATE INDEX study_state ON study (state);
CREATE INDEX study_last ON study (last_at);
CREATE INDEX study_deadline ON study (deadline) WHERE deadline IS NOT NULL;
CREATE TABLE header (
    id INTEGER NOT NULL, study VARCHAR(64) NOT NULL, series VARCHAR(64) NOT NULL, digest BLOB NOT NULL,
    attributes BLOB NOT NULL, PRIMARY KEY (id), UNIQUE (study, series, digest)
);
CREATE TABLE instance (
    study VARCHAR(64) NOT NULL, series VARCHAR(64) NOT NULL, uid VARCHAR(64) NOT NULL, header INTEGER NOT NULL,
    sop_class VARCHAR(64) NOT NULL, transfer_syntax VARCHAR(64) NOT NULL, size INTEGER NOT NULL,
    calling_ae VARCHAR(16) NOT NULL, received_at FLOAT NOT NULL, attributes BLOB NOT NULL,
    PRIMARY KEY (study, series, uid)
);
CREATE INDEX instance_uid ON instance (uid);
CREATE TABLE outbox (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, id VARCHAR NOT NULL, output VARCHAR NOT NULL,
    topic VARCHAR NOT NULL, study VARCHAR(64) NOT NULL, version INTEGER NOT NULL, attributes BLOB NOT NULL,
    data BLOB NOT NULL, created_at FLOAT NOT NULL, sent_at FLOAT, replayed_at FLOAT, parked_reason VARCHAR,
    UNIQUE (id)
);
CREATE INDEX outbox_pending ON outbox (seq) WHERE sent_at IS NULL AND parked_reason IS NULL;
CREATE INDEX outbox_study ON outbox (study, version);
CREATE TABLE full_resource (
    study VARCHAR(64) NOT NULL, output VARCHAR NOT NULL, version INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (study, output, version)
);
CREATE TABLE quarantine (
    id INTEGER NOT NULL, reason VARCHAR NOT NULL, study VARCHAR(64), series VARCHAR(64), instance VARCHAR(64),
    name VARCHAR, detail VARCHAR NOT NULL, calling_ae VARCHAR NOT NULL, at FLOAT NOT NULL, released_at FLOAT,
    PRIMARY KEY (id)
);
CREATE TABLE series (
    study VARCHAR(64) NOT NULL, uid VARCHAR(64) NOT NULL, modality VARCHAR NOT NULL,
    instances INTEGER NOT NULL, attributes BLOB NOT NULL, PRIMARY KEY (study, uid),
    FOREIGN KEY(study) REFERENCES study (uid)
);
CREATE INDEX series_uid ON series (uid);

INSERT INTO meta VALUES ('schema', '1');
INSERT INTO study VALUES
    ('1.2.1', 'complete', 2, 7, 0, 2, 1, 10, 10, 20, 60, NULL, 80, 'quiet', NULL, '["CT1"]', 'P1', '', 'doe^jane',
     '20260310', '081500', 'A1', 'S1', 'CT', '1.2.840.10008.5.1.4.1.1.2', CAST('{"PatientID":["P1"]}' AS BLOB)),
    ('1.2.2', 'complete', 1, 3, 0, 1, 1, 30, 30, 30, 60, NULL, 90, 'forced', NULL, '["CT1"]', 'P2', '', 'roe^richard',
     '20260311', '091500', 'A2', 'S2', 'CT', '1.2.840.10008.5.1.4.1.1.2', CAST('{"PatientID":["P2"]}' AS BLOB)),
    ('1.2.3', 'open', 0, 1, 1, 1, 1, 40, 40, 40, 60, 100, NULL, NULL, NULL, '["MR1"]', 'P3', '', 'poe^edgar',
     '20260312', '101500', 'A3', 'S3', 'MR\SR', '1.2.840.10008.5.1.4.1.1.4\1.2.840.10008.5.1.4.1.1.88.11',
     CAST('{"PatientID":["P3"]}' AS BLOB));
INSERT INTO series VALUES
    ('1.2.1', '1.2.1.1', 'CT', 2, CAST('{}' AS BLOB)),
    ('1.2.3', '1.2.3.1', 'MR', 1, CAST('{}' AS BLOB));
INSERT INTO header VALUES
    (1, '1.2.1', '1.2.1.1', X'00112233445566778899AABBCCDDEEFF', CAST('{"Modality":["CT"]}' AS BLOB));
INSERT INTO instance VALUES
    ('1.2.1', '1.2.1.1', '1.2.1.1.1', 1, '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', 512, 'CT1', 10,
     CAST('{}' AS BLOB)),
    ('1.2.1', '1.2.1.1', '1.2.1.1.2', 1, '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', 512, 'CT1', 20,
     CAST('{}' AS BLOB));
INSERT INTO outbox VALUES
    (4, 'r5/1.2.1/1', 'r5', 'imaging-study', '1.2.1', 1, CAST('{"studyversion":1}' AS BLOB),
     CAST('{"v":1}' AS BLOB), 50, 51, NULL, NULL),
    (5, 'r5/1.2.1/2', 'r5', 'imaging-study', '1.2.1', 2, CAST('{"studyversion":2}' AS BLOB),
     CAST('{"v":2}' AS BLOB), 80, NULL, NULL, NULL),
    (9, 'huge/1.2.2/1', 'huge', 'imaging-study', '1.2.2', 1, CAST('{"studyversion":1}' AS BLOB),
     CAST('{"v":3}' AS BLOB), 90, NULL, NULL, 'unfit');
INSERT INTO full_resource VALUES
    ('1.2.1', 'r5', 1, X'7B00FF'),
    ('1.2.1', 'r5', 2, CAST('{"full":2}' AS BLOB)),
    ('1.2.2', 'huge', 1, CAST('{"full":3}' AS BLOB));
INSERT INTO quarantine VALUES
    (3, 'duplicate', '1.2.1', '1.2.1.1', '1.2.1.1.1', 'a.dcm', 'other bytes', 'CT1', 60, NULL);
