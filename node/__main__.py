"""``python -m node`` is ``dicom-fhir-node``."""

from node.cli import main

if __name__ == "__main__":
    main()
