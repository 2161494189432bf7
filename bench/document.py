"""Measured blocks of documents: what stands between `<!-- bench/NAME -->` and the `<!-- end -->` behind it."""

import sys

END = "<!-- end -->"


def split(path, name):
    """The document before the block's text and behind it; ends the script if there is no such block."""
    begin = f"<!-- bench/{name} -->\n"
    before, begun, rest = path.read_text("utf-8").partition(begin)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        sys.exit(f"{path} has no block from {begin.strip()} to {END}")
    return before + begin, END + after


def replace(path, name, text):
    """Puts `text` where the block's was; a reader finds the old document or the new one."""
    before, after = split(path, name)
    new = path.with_name(path.name + ".new")
    new.write_text(f"{before}{text}\n{after}", encoding="utf-8")
    new.replace(path)
