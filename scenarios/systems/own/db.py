#!/usr/bin/env python3
"""Keeps the rows that are put, /ROW, and tells all of them by GET, a line each."""
import http.server
import sys

rows = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        rows[self.path[1:]] = True
        self.answer(b"")

    def do_GET(self):
        self.answer("\n".join(list(rows)).encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
