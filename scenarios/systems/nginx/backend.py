#!/usr/bin/env python3
"""Executes what is posted to it, and tells by GET what it has executed, a line each."""
import http.server
import sys

executed = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        executed.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(b"")

    def do_GET(self):
        self.answer(b"\n".join(executed))

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 100


Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
