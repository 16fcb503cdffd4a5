"""A small HTTP server with the parts of vLLM's that the trainer uses, around a model of transformers.

Completions by token ids, seeds and temperature, with log-probabilities and token ids; loading of weights from a folder.
It is not vLLM's server: it holds the client to the same contract where vLLM takes half a minute to start, and can fail
in every way that a test asks for.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from llm.sample.engines.base import Settings
from llm.sample.engines.transformers import Transformers, _Row


class CompletionServer(ThreadingHTTPServer):
    """A server on a port of its own, answering from threads of this process until it is closed.

    Attributes:
        asked: completions begun.
        loaded: folders that weights were loaded from.
        state: "well"; "dead" (connections close without an answer); "hung" (no answer comes); "stubborn" (says that it
            has loaded weights, and has not).
        temperature: that it samples at whatever it is asked for; None: as asked.
        length: the longest sequence that it says it takes.
    """

    daemon_threads = True

    def __init__(self, model: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        settings = Settings("transformers", model, 1.0, 32, 256)
        self._backend = Transformers(settings, lambda: None)
        self._lock = threading.Lock()
        self.asked = 0
        self.loaded: list[str] = []
        self.state = "well"
        self.temperature: float | None = None
        self.length = 256
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.state = "dead"
        self.shutdown()
        self.server_close()

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.asked += 1
            temperature = body["temperature"] if self.temperature is None else self.temperature
            self._backend._settings = replace(
                self._backend._settings, temperature=temperature, stop_tokens=tuple(body["stop_token_ids"])
            )
            (sample,) = self._backend._batch([_Row(0, tuple(body["prompt"]), body["seed"], body["max_tokens"])])
        choice = {
            "token_ids": sample.tokens.tolist(),
            "logprobs": {"token_logprobs": [float(value) for value in sample.log_probs]},
            "finish_reason": "stop" if sample.finished else "length",
        }
        return {"choices": [choice]}

    def call(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["method"] == "reload_weights"
        folder = body["kwargs"]["weights_path"]
        found = {}
        for path in sorted(Path(folder).glob("*.safetensors")):
            found |= load_file(path)
        with self._lock:
            self.loaded.append(folder)
            if self.state != "stubborn":
                self._backend.load(found)
        return {"results": [None]}


class Handler(BaseHTTPRequestHandler):
    server: CompletionServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert self.path == "/v1/models"
        self.answer(lambda body: {"data": [{"id": "m", "max_model_len": self.server.length}]})

    def do_POST(self) -> None:
        calls = {"/v1/completions": self.server.complete, "/collective_rpc": self.server.call}
        self.answer(calls.get(self.path, lambda body: {"success": True}))

    def answer(self, call: Any) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        while self.server.state == "hung":
            time.sleep(0.01)
        found = json.dumps(call(json.loads(content or b"{}"))).encode() if self.server.state != "dead" else b""
        self.close_connection = self.server.state == "dead"  # also when it died meanwhile
        if self.close_connection:
            return
        with suppress(ConnectionError):  # who asked may have given up
            self.send_response(200)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass
