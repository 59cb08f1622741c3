"""A small web shop: the business system of the tutorial. Standard library only; it forgets everything when it ends.

    GET  /orders/{id}            the order
    POST /orders/{id}/refunds    {"amount": cents}, with an Idempotency-Key: the same key is done once
    POST /_faults                {"fault": "timeout_after_commit"}: do the next refund, and then give no answer
    GET  /_effects               what was done, each with its key; `cxplane conform` counts them

`python shop.py` opens it; `python shop.py hang` tells the open one to lose its next answer.
"""

import json
import os
import sys
import time
import urllib.request
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

CUSTOMERS = {"o-1": "c-1", "o-2": "c-1", "o-3": "c-2", "o-4": "c-1", "o-5": "c-1", "o-6": "c-1"}
paid = defaultdict(lambda: 9900)  # cents
refunds = defaultdict(list)  # order -> [(key, amount)]
answers = {}  # key -> the answer that was given
faults = []
lock = Lock()


def order(id):
    return {
        "order_id": id,
        "customer_id": CUSTOMERS.get(id, "conformance"),
        "paid": paid[id],
        "refunded": sum(amount for _, amount in refunds[id]),
        "status": "shipped",
        "refund_keys": [key for key, _ in refunds[id]],
    }


class Shop(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, {"up": True})
        if self.path == "/_effects":
            return self.answer(200, {"effects": [{"key": key} for key in answers]})
        if self.path.startswith("/orders/"):
            return self.answer(200, order(self.path.split("/")[2]))
        return self.answer(404, {"error": "no such address"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path == "/_faults":
            faults[:] = [body["fault"]] * body.get("times", 1) if body["fault"] != "none" else []
            return self.answer(200, {})
        id, key = self.path.split("/")[2], self.headers.get("Idempotency-Key", "")
        with lock:
            if key not in answers:  # the same key again does nothing again
                refunds[id].append((key, body["amount"]))
                answers[key] = {"refund_id": f"r-{len(answers) + 1}"}
        if faults and faults.pop() == "timeout_after_commit":
            time.sleep(6)
        return self.answer(200, answers[key])

    def answer(self, status, told):
        text = json.dumps(told).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        except OSError:
            pass  # whoever asked has hung up

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    port = int(os.environ.get("SHOP_PORT", 9100))
    if sys.argv[1:] == ["hang"]:
        fault = json.dumps({"fault": "timeout_after_commit"}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/_faults", fault).close()
        sys.stdout.write("the shop will do its next refund, and give no answer\n")
    else:
        sys.stdout.write(f"the shop is open at http://127.0.0.1:{port}\n")
        sys.stdout.flush()
        ThreadingHTTPServer(("127.0.0.1", port), Shop).serve_forever()
