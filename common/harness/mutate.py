#!/usr/bin/env python3
"""Changes a chapter's server.rs in one place at a time, and asks whether any check notices.

    common/harness/mutate.py [CHAPTER ...]        all chapters, or for example: 04-epoll-et 06-io-uring

The changes are those of cargo-mutants (https://mutants.rs): another operator, a `!` less, a match guard that is always
true or always false, a function that does nothing. Each is compiled and meets `cargo test -p CHAPTER --test conformance`,
which ends at the first failure (FAIL_FAST).

Invariant: server.rs is as it was when this ends, and a change that no check notices is explained in survivors.toml, or this
program fails. The explanation is found by the function, the change and the text of the line, so a line that is edited has
to be explained again.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHAPTERS = {
    "01-select": "select",
    "02-poll": "poll",
    "03-epoll-lt": "epoll-lt",
    "04-epoll-et": "epoll-et",
    "05-kqueue": "kqueue",
    "06-io-uring": "uring",
}
# Seconds. A run that takes longer hangs, and the change has been noticed.
TIMEOUT = 300

OTHER = {
    "==": ["!="], "!=": ["=="], "<": ["==", ">", "<="], ">": ["==", "<", ">="], "<=": [">"], ">=": ["<"],
    "&&": ["||"], "||": ["&&"], "&": ["|", "^"], "|": ["&", "^"], "|=": ["&=", "^="],
    "+": ["-", "*"], "-": ["+", "/"], "*": ["+", "/"], "/": ["%", "*"], "%": ["/", "+"],
    "+=": ["-=", "*="], "-=": ["+=", "/="],
}
OPERATOR = re.compile(r"(?<= )(==|!=|&&|\|\||\+=|-=|\|=|<=|>=|<|>|\+|-|\*|\||&|%|/)(?= )")
NOT = re.compile(r"(?<![\w!])!(?=[\w(])")
GUARD = re.compile(r"\s*(?!if\b)\S.* if (.*) =>")
# No expression: an item's head, an attribute, a pattern with alternatives.
NO_CODE = re.compile(r"\s*(use |#|impl|(pub )?struct |(pub )?(unsafe )?fn |\|)")
FUNCTION = re.compile(r"\n( *)(?:pub )?(?:unsafe )?fn (\w+)[^{;]*?(?:-> ([^{;]+?))? \{\n")
INSTEAD = {
    "": ["()"], "bool": ["true", "false"], "Result<()>": ["Ok(())"], "io::Result<()>": ["Ok(())"],
    "io::Result<usize>": ["Ok(0)", "Ok(1)"], "Option<Op>": ["None"],
}


def changes(text):
    """(what, line, the whole text with the change)."""
    found, at, function = [], 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        code = line.split("//")[0]
        if name := re.search(r"\bfn (\w+)", code):
            function = f" in {name[1]}"

        def change(start, old, new, what):
            place = at + start
            found.append((what + function, number, text[:place] + new + text[place + len(old):]))

        if not NO_CODE.match(code):
            pattern = code.split("=>")[0].split(" if ")[0] if "=>" in code else ""
            for operator in OPERATOR.finditer(code):
                if operator.start() >= len(pattern):
                    for new in OTHER[operator[1]]:
                        change(operator.start(), operator[1], new, f"{operator[1]} becomes {new}")
            for sign in NOT.finditer(code):
                change(sign.start(), "!", "", "! is gone")
            if guard := GUARD.match(code):
                for value in ("true", "false"):
                    change(guard.start(1), guard[1], value, f"the guard is {value}")
        at += len(line) + 1
    for head in FUNCTION.finditer(text):
        indent, name, returns = head[1], head[2], (head[3] or "").strip()
        end = text.index(f"\n{indent}}}\n", head.end() - 1)
        for value in INSTEAD.get(returns, []):
            whole = f"{text[:head.end()]}{indent}    {value}{text[end:]}"
            number = text.count("\n", 0, head.start() + 1) + 1
            found.append((f"{name} is {value}", number, whole))
    return found


def survives(package):
    """True, False, or None where it does not compile."""
    build = ["cargo", "build", "--quiet", "--package", package, "--bins"]
    if subprocess.run(build, cwd=ROOT, capture_output=True).returncode != 0:
        return None
    test = ["cargo", "test", "--quiet", "--package", package, "--test", "conformance"]
    environment = os.environ | {"FAIL_FAST": "1"}
    # A group of its own, so that the end of a test that hangs is the end of its servers too.
    run = subprocess.Popen(test, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           start_new_session=True)
    try:
        return run.wait(TIMEOUT) == 0
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        return False


def measure(chapter, explained):
    """The survivors without an explanation; prints what comes of each change."""
    file = ROOT / chapter / "src" / "server.rs"
    original = file.read_text()
    lines = original.split("\n")
    viable = survivors = 0
    unexplained = []
    test = ["cargo", "test", "--quiet", "--package", CHAPTERS[chapter], "--test", "conformance", "--no-run"]
    subprocess.run(test, cwd=ROOT, check=True)
    if not survives(CHAPTERS[chapter]):
        sys.exit(f"{chapter} fails as it is, so its changes would tell nothing: cargo test -p {CHAPTERS[chapter]}")
    try:
        for what, number, text in changes(original):
            file.write_text(text)
            lives = survives(CHAPTERS[chapter])
            viable += lives is not None
            says = {None: "does not compile", False: "caught", True: "SURVIVES"}[lives]
            print(f"{chapter}/src/server.rs:{number}: {what}: {says}", flush=True)
            if lives:
                survivors += 1
                entry = (chapter, what, lines[number - 1].strip())
                if entry not in explained:
                    unexplained.append(entry)
    finally:
        file.write_text(original)
    print(f"\n[[score]]\nchapter = '{chapter}'\nviable = {viable}\ncaught = {viable - survivors}\n", flush=True)
    return unexplained


def main():
    # Ended by a signal, it ends as by an error: the file is written back first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    chapters = sys.argv[1:] or list(CHAPTERS)
    if unknown := [chapter for chapter in chapters if chapter not in CHAPTERS]:
        print(f"no such chapter: {', '.join(unknown)}; there are {', '.join(CHAPTERS)}", file=sys.stderr)
        print("usage: common/harness/mutate.py [CHAPTER ...]", file=sys.stderr)
        sys.exit(2)
    known = tomllib.loads((HERE / "survivors.toml").read_text())
    explained = {(it["chapter"], it["change"], it["line"]) for it in known.get("survivor", [])}
    unexplained = [entry for chapter in chapters for entry in measure(chapter, explained)]
    for chapter, what, line in unexplained:
        print(f"[[survivor]]\nchapter = '{chapter}'\nchange = '{what}'\nline = '''{line}'''\nwhy = \"\"\n")
    if unexplained:
        sys.exit(f"{len(unexplained)} changes that no check notices: close the hole, or say in survivors.toml why it is none")


main()
