"""What scripts/site --look does with a site: pictures of some of its pages, and which pages scroll sideways. By Chromium, without a window."""

import html
import json
import pathlib
import re
import shutil
import subprocess
import tempfile

import command_line

SIZES = ((1280, 900), (390, 844))  # a desk's, a telephone's
AT_A_TIME = 20  # pages that Chromium holds

# A page of frames as wide as the screen is to be, which says how wide their documents are. Chromium's windows may be wider than one asks for.
FRAMES = """<!doctype html><body>{frames}<script>
addEventListener("load", () => {{
  const of_frame = ({{ contentDocument: {{ documentElement: page }} }}) => [page.scrollWidth, page.clientWidth];
  const told = document.createElement("pre");
  told.textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(of_frame));
  document.body.append(told);
}});
</script>"""


def browser():
    """The command, or the end with status 2."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or command_line.fail("--look needs Chromium (Debian: chromium)")


def ask(chromium, *arguments):
    """Runs it on pages of our own, for which it needs no sandbox (as root it has none), and without what else a profile has."""
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files", f"--user-data-dir={profile}"]
        return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300)


def frames(folder, pages, size):
    shown = "".join(f'<iframe src="{html.escape((folder / page).resolve().as_uri())}" width="{size[0]}" height="{size[1]}" frameborder="0"></iframe>' for page in pages)
    return FRAMES.format(frames=shown)


def sideways(chromium, folder, pages, size):
    """Page → the width that it takes, of those that are wider than the screen."""
    wide = {}
    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch) / "frames.html"
        for begin in range(0, len(pages), AT_A_TIME):
            some = pages[begin : begin + AT_A_TIME]
            file.write_text(frames(folder, some, size), encoding="utf-8")
            ran = ask(chromium, "--dump-dom", file.as_uri())
            told = re.search(r"<pre>(.*?)</pre>", ran.stdout)
            if not told:
                raise RuntimeError(f"{chromium} says nothing of {some[0]} and the pages after it: {ran.stderr.strip()[-2000:]}")
            wide |= {page: takes for page, (takes, has) in zip(some, json.loads(told[1]), strict=True) if takes > has}
    return wide


def picture(chromium, folder, page, size, target):
    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch) / "frame.html"
        file.write_text(f"<style>body {{ margin: 0 }}</style>{frames(folder, [page], size)}", encoding="utf-8")
        ran = ask(chromium, f"--screenshot={target.resolve()}", f"--window-size={size[0]},{size[1]}", file.as_uri())
    if not target.is_file():
        raise RuntimeError(f"{chromium} makes no picture of {page}: {ran.stderr.strip()[-2000:]}")


def look(chromium, folder, pages, shown, pictures):
    """Writes the pictures, and returns what is wrong."""
    pictures.mkdir(parents=True, exist_ok=True)
    problems = []
    for size in SIZES:
        for page in shown:
            picture(chromium, folder, page, size, pictures / f"{pathlib.Path(page).stem}-{size[0]}.png")
        wide = sideways(chromium, folder, pages, size)
        problems += [f"{page} scrolls sideways where the screen has {size[0]} pixels: it takes {takes}" for page, takes in wide.items()]
    return problems
