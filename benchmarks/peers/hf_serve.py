"""The peer of `benchmarks/serve.py`: Hugging Face `generate` behind a small HTTP server.

    PEER benchmarks/peers/hf_serve.py '{"layers": 6, "width": 192, ..., "rows": 32}'

Requests {"ids": [...], "new": 32} that wait are put into one batch, at most `rows`, padded on the
left, decoded greedily with a cache, and answered when the batch is done. Random weights; no reply
ends early. A line {"rows": 32, "prompt": 84, "new": 40, "dtype": "float32", "threads": 2} on
standard input runs one batch with that type and that many threads, answers with its seconds, and
lets the server go on with both.
"""

import json
import queue
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import torch
from sizes import sizes
from transformers import GemmaConfig, GemmaForCausalLM

GATHER_S = 0.01  # the first of a batch waits so long for others, as long as they keep coming


class Job:
    """A request that waits, or a measurement (with `settings`)."""

    def __init__(self, ids: list, new: int, settings: tuple = ()) -> None:
        self.ids, self.new, self.settings = ids, new, settings
        self.done = threading.Event()
        self.seconds = 0.0


class Batches(threading.Thread):
    """Answers what waits, batch after batch: the one thread that calls torch."""

    def __init__(self, shape: dict) -> None:
        super().__init__(daemon=True)
        torch.manual_seed(0)
        config = GemmaConfig(
            **sizes(shape),
            eos_token_id=None,
            pad_token_id=0,
        )
        self.models = {
            "float32": GemmaForCausalLM(config).eval(),
            "bfloat16": GemmaForCausalLM(config).eval().bfloat16(),
        }
        self.rows, self.settings = shape["rows"], ("float32", 1)
        self.jobs: queue.SimpleQueue = queue.SimpleQueue()

    def run(self) -> None:
        while True:
            job = self.jobs.get()
            if job.settings:
                self.settings = job.settings
                began = time.perf_counter()
                self.generate(job.ids, [job.new] * len(job.ids))
                job.seconds = time.perf_counter() - began
                job.done.set()
                continue
            batch = [job]
            while len(batch) < self.rows:
                try:
                    batch.append(self.jobs.get(timeout=GATHER_S))
                except queue.Empty:
                    break
            self.generate([each.ids for each in batch], [each.new for each in batch])
            for each in batch:
                each.done.set()

    def generate(self, prompts: list, new: list) -> None:
        dtype, threads = self.settings
        torch.set_num_threads(threads)
        longest, most = max(map(len, prompts)), max(new)
        ids = torch.zeros((len(prompts), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        with torch.inference_mode():
            out = self.models[dtype].generate(
                ids, attention_mask=mask, do_sample=False, use_cache=True, max_new_tokens=most
            )
        assert out.shape == (len(prompts), longest + most)

    def wait(self, job: Job) -> Job:
        self.jobs.put(job)
        job.done.wait()
        return job


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


def answering(batches: Batches) -> type:
    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            wish = json.loads(self.rfile.read(int(self.headers["content-length"])))
            job = batches.wait(Job(wish["ids"], wish["new"]))
            body = json.dumps({"tokens": job.new}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Answer


def main() -> None:
    shape = json.loads(sys.argv[1])
    batches = Batches(shape)
    batches.start()
    server = Server(("127.0.0.1", 0), answering(batches))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    versions = {name: version(name) for name in ("torch", "transformers")}
    print(json.dumps({"versions": versions, "port": server.server_port}), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        prompts = torch.randint(4, shape["vocab"], (wanted["rows"], wanted["prompt"])).tolist()
        job = Job(prompts, wanted["new"], (wanted["dtype"], wanted["threads"]))
        print(json.dumps({"seconds": batches.wait(job).seconds}), flush=True)


if __name__ == "__main__":
    main()
