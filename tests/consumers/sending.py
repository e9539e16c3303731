"""Many objects in little time: by the node's own requestor, which does not wait for delayed acknowledgements."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydicom.dataset import Dataset

from node.services.send import SendOptions, send
from node.services.send.address import Address as SendTo
from tests.harness import Address


def send_many(node: Address, datasets: Iterable[Dataset], folder: Path, calling_ae: str = "CT1") -> None:
    """Store ``datasets`` by way of files in ``folder``; all must be stored."""
    folder.mkdir()
    for number, dataset in enumerate(datasets):
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    to = SendTo(node.ae_title, "127.0.0.1", node.port)
    assert send([folder], to, SendOptions(calling_ae=calling_ae)).exit_code == 0
