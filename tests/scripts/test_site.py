#!/usr/bin/env python3
"""What scripts/site empties, what --external makes of the answers of others, from a server of this test's own, and what --look sees. Ends with unittest's summary."""

import http.server
import importlib.machinery
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts"
sys.dont_write_bytecode = True
sys.path.insert(0, str(SCRIPTS))
loader = importlib.machinery.SourceFileLoader("site_of_penstock", str(SCRIPTS / "site"))
site = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(site)


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path[1:]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Output(unittest.TestCase):
    def test_a_folder_with_other_things_in_it_is_left_alone(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for known in ("index.html", "site.css"):  # not all that a site has
                (folder / known).write_text("dear", encoding="utf-8")
            for output in (folder, folder / "site.css"):
                ran = subprocess.run([sys.executable, SCRIPTS / "site", "-o", output], capture_output=True, text=True, check=False)
                self.assertEqual((ran.returncode, ran.stdout), (2, ""))
                self.assertIn("would be emptied", ran.stderr)
            self.assertEqual({p.name: p.read_text(encoding="utf-8") for p in folder.iterdir()}, {"index.html": "dear", "site.css": "dear"})


class External(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.addCleanup(self.server.server_close)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.shutdown)
        self.at = f"http://127.0.0.1:{self.server.server_port}"

    def test_what_is_there_is_nothing_to_tell(self):
        self.assertEqual(site.asked(f"{self.at}/200"), ("", False))

    def test_what_is_gone_is_dead(self):
        for status in ("404", "410"):
            said, dead = site.asked(f"{self.at}/{status}")
            self.assertTrue(dead and said.startswith(status), said)

    def test_what_refuses_programs_or_is_down_may_be_there(self):
        for status in ("403", "429", "503"):
            said, dead = site.asked(f"{self.at}/{status}")
            self.assertTrue(not dead and said.startswith(status), said)
        said, dead = site.asked("http://127.0.0.1:1/")
        self.assertTrue(said and not dead)


class Look(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_without_chromium_it_ends_before_it_builds(self):
        command = [sys.executable, SCRIPTS / "site", "-o", self.folder / "site", "--look", self.folder]
        ran = subprocess.run(command, env=os.environ | {"PATH": "/nowhere"}, capture_output=True, text=True, check=False)
        self.assertEqual((ran.returncode, ran.stdout), (2, ""))
        self.assertIn("needs Chromium", ran.stderr)
        self.assertFalse((self.folder / "site").exists())

    @unittest.skipUnless(shutil.which("chromium"), "there is no chromium")
    def test_what_is_wider_than_the_screen_is_named(self):
        pages = {"fits": "<pre style='overflow: auto'>" + "wide " * 100 + "</pre>", "wide": "<pre>" + "wide " * 100 + "</pre>"}
        for name, body in pages.items():
            (self.folder / f"{name}.html").write_text(f"<!doctype html><body>{body}", encoding="utf-8")
        problems = site.site_look.look("chromium", self.folder, ["fits.html", "wide.html"], ["fits.html"], self.folder / "pictures")
        self.assertEqual([problem.split(" ")[0] for problem in problems], ["wide.html"] * 2)
        self.assertEqual({p.name for p in (self.folder / "pictures").iterdir()}, {"fits-1280.png", "fits-390.png"})


if __name__ == "__main__":
    unittest.main()
