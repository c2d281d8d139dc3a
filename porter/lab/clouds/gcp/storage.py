"""Cloud Storage: gcp-storage-emulator behind a guard that enforces what it ignores.

The guard checks generation preconditions (for resumable uploads when they begin), the CRC32C of a
`X-Goog-Hash` header, and the expiry of signed URLs. Checked by the emulator itself: CRC32C in an
object's metadata. Checked by nobody: signatures and credentials.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

from gcp_storage_emulator import exceptions, server, storage
from gcp_storage_emulator.handlers import buckets

_OBJECT = re.compile(r"(?:/\w+)?/storage/v1/b/([^/]+)/o(?:/([^/]+))?(?:/compose)?")
_PRECONDITION = "ifGenerationMatch"


class Storage:
    """One service of a lab, with as many buckets as are asked for."""

    def __init__(self, directory: Path, address: str) -> None:
        self._kept = storage.Storage(data_dir=str(directory))
        handler = partial(_Guard, self._kept)
        self._httpd = ThreadingHTTPServer((address, 0), cast(Any, handler))
        self._httpd.daemon_threads = True
        self._thread = threading.Thread(target=self._httpd.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://{address}:{self._httpd.server_port}"

    def bucket(self) -> str:
        """A fresh bucket."""
        name = f"porter-{uuid.uuid4().hex[:12]}"
        with _Guard.turn:
            buckets.create_bucket(name, self._kept)
        return name

    def stop(self) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()
        self._thread.join()


class _Guard(server.RequestHandler):
    turn = threading.Lock()
    """One request at a time: what is checked still holds when it is done."""

    def do_GET(self) -> None:
        self._guarded(super().do_GET)

    def do_POST(self) -> None:
        self._guarded(super().do_POST)

    def do_PUT(self) -> None:
        self._guarded(super().do_PUT)

    def do_PATCH(self) -> None:
        self._guarded(super().do_PATCH)

    def do_DELETE(self) -> None:
        self._guarded(super().do_DELETE)

    def _guarded(self, serve: Any) -> None:
        body = server._read_raw_data(self) or b""
        # The emulator reads the body again, whole.
        del self.headers["Transfer-Encoding"], self.headers["Content-Length"]
        self.headers["Content-Length"] = str(len(body))
        self.rfile = BytesIO(body)
        with self.turn:
            refused = self._refused(body)
            if refused is None:
                serve()
                return
        status, why = refused
        told = json.dumps({"error": {"code": status, "message": why}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def _refused(self, body: bytes) -> tuple[int, str] | None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if "X-Goog-Expires" in query:
            begun = datetime.strptime(query["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            if datetime.now(UTC) > begun + timedelta(seconds=int(query["X-Goog-Expires"])):
                return 400, "ExpiredToken: the signed URL has expired"
        told = re.search(r"crc32c=([^,\s]+)", self.headers.get("X-Goog-Hash", ""))
        if told and query.get("uploadType", "media") == "media" and told[1] != crc32c(body):
            return 400, "Provided CRC32C does not match the calculated one"
        wanted = query.get(_PRECONDITION)
        found = _OBJECT.fullmatch(parts.path)
        if wanted is None or found is None or "upload_id" in query:
            return None
        name = unquote(found[2]) if found[2] else query.get("name") or _name(body)
        if int(wanted) != self._generation(found[1], name):
            return 412, "At least one of the pre-conditions you specified did not hold."
        return None

    def _generation(self, bucket: str, name: str) -> int:
        """Of the live object; 0 where there is none."""
        try:
            return int(self.storage.get_file_obj(bucket, name)["generation"])
        except exceptions.NotFound:
            return 0


def crc32c(body: bytes) -> str:
    import google_crc32c

    return base64.b64encode(google_crc32c.Checksum(body).digest()).decode()


def _name(body: bytes) -> str:
    """The object's name in the JSON of an upload: all of the body, or its first part."""
    found = re.search(rb'"name":\s*("(?:[^"\\]|\\.)*")', body[:8192])
    return str(json.loads(found[1])) if found else ""
