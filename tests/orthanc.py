"""A real Orthanc as a peer: it sends and it queries. One process on free ports, its data in a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.harness import eventually
from tests.ports import free_port


class Orthanc:
    """``modalities`` maps a name to (AE title, port) on loopback; ``more`` are settings beside them."""

    def __init__(
        self, folder: Path, modalities: dict[str, tuple[str, int]], more: dict[str, Any] | None = None
    ) -> None:
        self.http_port, self.dicom_port = free_port(), free_port()
        configuration = {
            "Name": "peer",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [],
            "DicomModalities": {
                name: {"AET": title, "Host": "127.0.0.1", "Port": port}
                for name, (title, port) in modalities.items()
            },
            **(more or {}),
        }
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "orthanc.json"
        path.write_text(json.dumps(configuration))
        program = shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None
        self._log = (folder / "orthanc.log").open("wb")
        self._process = subprocess.Popen([program, str(path)], stdout=self._log, stderr=subprocess.STDOUT)
        eventually(self._answers, 30)

    def _answers(self) -> bool:
        assert self._process.poll() is None, Path(self._log.name).read_text()
        try:
            self.call("/system")
        except urllib.error.URLError:
            return False
        return True

    def call(self, path: str, body: Any = None) -> Any:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data=data)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.loads(response.read())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()
