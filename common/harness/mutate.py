#!/usr/bin/env python3
"""Changes a server in one place at a time, and asks whether any check notices.

    common/harness/mutate.py [OPTION ...] [SERVER ...]

    SERVER     a chapter, whose server.rs is changed (04-epoll-et), or an exercise, whose solution.rs is changed
               (12_slots). A number is enough. Without one: the chapters, and the exercises that EXERCISES names
    --again    try again what survived before: a check may be new
    --fresh    forget all earlier results
    --write    write what was measured to measured.toml, for `cargo lab docs`
    --help     this text

The changes are those of cargo-mutants (https://mutants.rs): another operator, a `!` less, a match guard that is always
true or always false, a function that does nothing. A change that makes the same program as the original is no change. Any
other program meets all checks (of a chapter: its conformance test; of an exercise: all that a grade takes), until the
first one fails. While it does, the next one is compiled.

Invariant: the files of the repository are only read: what is changed is a copy under target/mutate. A result stands for a
program, byte for byte, and is kept there; so a run that was ended goes on where it was. A program that no check notices is
explained in survivors.toml, or this script fails. The explanation is found by the server, the change and the text of the
line, so a line that is edited has to be explained again.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
WORK = TARGET / "mutate"
COPY = WORK / "copy"

CHAPTERS = {
    "01-select": "select",
    "02-poll": "poll",
    "03-epoll-lt": "epoll-lt",
    "04-epoll-et": "epoll-et",
    "05-kqueue": "kqueue",
    "06-io-uring": "uring",
}
# No two of them have the same lesson.
EXERCISES = ["09_fd_1024", "12_slots", "16_slow_reader", "21_short_read", "26_oneshot", "29_the_herd", "32_second_event",
             "35_short_send", "36_multishot", "37_no_buffers"]
# Seconds. Each check has deadlines of its own; if none ends for so long, the program hangs one of them.
SILENCE = 300

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
    "io::Result<usize>": ["Ok(0)", "Ok(1)"], "Option<Op>": ["None"], "Option<u32>": ["None"],
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


# Every program that runs for this script, to be ended with it.
running, ending = set(), threading.Event()


def start(command, **options):
    """A group of its own, so that its end is the end of its children too."""
    process = subprocess.Popen(command, start_new_session=True, text=True, **options)
    running.add(process)
    if ending.is_set():
        end(process)
    return process


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    running.discard(process)


def stopped(*_):
    ending.set()
    # Whoever started them waits for them.
    for process in list(running):
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    sys.exit("ended by a signal; the next run goes on from here")


def executable(command, name, **options):
    """What cargo built under this name, or None where it does not compile."""
    cargo = start(command + ["--message-format=json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    said, errors = cargo.communicate()
    messages = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    end(cargo)
    if any(it["reason"] == "compiler-message" and it["message"]["level"] == "error" for it in messages):
        return None
    if cargo.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed, and not for what the compiler says\n{errors}")
    paths = [it["executable"] for it in messages if it.get("executable") and it["target"]["name"] == name]
    return pathlib.Path(paths[-1])


class Chapter:
    """A chapter's server, and its conformance test."""

    def __init__(self, name):
        self.name, self.file, self.copy = name, ROOT / name / "src/server.rs", COPY / name / "src/server.rs"
        self.package = CHAPTERS[name]
        self.build = ["cargo", "build", "--package", self.package, "--bin", self.package]
        self.program, self.folder = self.package, COPY

    def prepare(self):
        self.test = executable(["cargo", "test", "--package", self.package, "--test", "conformance", "--no-run"],
                               "conformance", cwd=ROOT)

    def command(self, program, first):
        # FAIL_FAST says which checks come first.
        return [self.test], {"FAIL_FAST": " ".join(first) or "1", "MUTATED_SERVER": str(program)}

    def failed(self, line):
        """The check that a line of the judge says has failed."""
        found = re.match(r"test (\S+) +\.\.\. FAILED", line)
        return found and found[1]


class Solution:
    """An exercise's solution, and all that a grade takes."""

    def __init__(self, name):
        self.name, self.file = name, ROOT / "exercises" / name / "solution.rs"
        self.folder = COPY / "exercises/attempts"
        self.copy, self.program = self.folder / f"{name}.rs", name
        self.build = ["cargo", "build", "--example", name]

    def prepare(self):
        self.lab = executable(["cargo", "build", "--package", "lab"], "lab", cwd=ROOT)

    def command(self, program, _):
        # The exercise's own checks come first.
        return [self.lab, "grade-worker", "--exercise", self.name, "--server", program], {}

    def failed(self, line):
        said = json.loads(line)
        if said == "Done":
            return None
        if "NotStarted" in said:
            return "its start"
        return said["Checked"]["check"] if said["Checked"]["outcome"] == "fail" else None


def compiled(subject, text):
    """The program and its hash, or None where the text does not compile."""
    subject.copy.write_text(text)
    # No names and no line numbers, so that what does the same is the same.
    environment = os.environ | {"CARGO_TARGET_DIR": str(WORK / "build"), "CARGO_PROFILE_DEV_DEBUG": "0",
                                "CARGO_PROFILE_DEV_STRIP": "symbols"}
    built = executable(subject.build, subject.program, cwd=subject.folder, env=environment)
    if built is None:
        return None
    digest = hashlib.sha256(built.read_bytes()).hexdigest()
    program = WORK / "programs" / digest[:16]
    program.parent.mkdir(exist_ok=True)
    # The change before may have made the same program, which runs now.
    if not program.exists():
        shutil.copy2(built, program)
    return program, digest


def noticed(subject, program, first):
    """The first check that fails, 'a hang', or None."""
    command, environment = subject.command(program, first)
    # A grader's worker begins each line with what stands on its stdin: with nothing, then.
    judge = start(command, cwd=ROOT, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                  stderr=subprocess.DEVNULL)
    rest = b""
    try:
        while select.select([judge.stdout], [], [], SILENCE)[0]:
            # Not readline: what it has read ahead, select does not see.
            said = os.read(judge.stdout.fileno(), 1 << 16)
            *lines, rest = (rest + said).split(b"\n")
            for line in lines:
                if check := subject.failed(line.decode()):
                    return check
            if not said and judge.wait() == 0:
                return None
            if not said:
                sys.exit(f"{' '.join(map(str, command))} ended with {judge.returncode}, and no check had failed")
        return "a hang"
    finally:
        end(judge)


@dataclasses.dataclass
class Results:
    """What is known of each program, by its hash: the check that notices it, or None."""
    file: pathlib.Path
    known: dict

    @classmethod
    def load(cls, subject, options):
        file = WORK / "results" / f"{subject.name}.json"
        file.parent.mkdir(exist_ok=True)
        fresh = "--fresh" in options or not file.exists()
        known = {} if fresh else json.loads(file.read_text())
        if "--again" in options:
            known = {digest: by for digest, by in known.items() if by}
        return cls(file, known)

    def add(self, digest, by):
        self.known[digest] = by
        whole = self.file.with_suffix(".new")
        whole.write_text(json.dumps(self.known, indent=0))
        whole.rename(self.file)

    def busiest(self):
        """The checks that noticed something, the most often first: they are likely to notice the next change too."""
        found = [by for by in self.known.values() if by and "::" in by]
        return sorted(set(found), key=lambda check: -found.count(check))[:12]


@dataclasses.dataclass
class Score:
    """What came of a server's changes. Survivors are (change, line)."""
    name: str
    compile: int = 0
    same: int = 0
    caught: int = 0
    survivors: list = dataclasses.field(default_factory=list)


def measure(subject, options):
    """Tries each change, and prints what comes of it."""
    subject.prepare()
    original = subject.file.read_text()
    lines, wanted = original.split("\n"), changes(original)
    program, digest = compiled(subject, original) or sys.exit(f"{subject.file} does not compile")
    results = Results.load(subject, options)
    if digest not in results.known:
        if by := noticed(subject, program, []):
            sys.exit(f"{subject.name} as it is fails {by}, so its changes would tell nothing")
        results.add(digest, None)
    score = Score(subject.name)
    with concurrent.futures.ThreadPoolExecutor(1) as compiler:
        coming = compiler.submit(compiled, subject, wanted[0][2])
        for place, (what, number, _) in enumerate(wanted):
            built, begun = coming.result(), time.monotonic()
            if place + 1 < len(wanted):
                coming = compiler.submit(compiled, subject, wanted[place + 1][2])
            if built is None:
                said = "does not compile"
            elif built[1] == digest:
                score.compile, score.same, said = score.compile + 1, score.same + 1, "the same program"
            else:
                if built[1] not in results.known:
                    results.add(built[1], noticed(subject, built[0], results.busiest()))
                built[0].unlink(missing_ok=True)
                by = results.known[built[1]]
                score.compile, score.caught = score.compile + 1, score.caught + (by is not None)
                said = f"caught by {by}" if by else "SURVIVES"
                if not by:
                    score.survivors.append((what, lines[number - 1].strip()))
            path = subject.file.relative_to(ROOT)
            print(f"{path}:{number}: {what}: {said} ({time.monotonic() - begun:.1f} s)", flush=True)
    print(f"\n{subject.name}: {score.compile} changes compile, {score.same} of them make the same program, "
          f"{score.caught} are caught, {len(score.survivors)} survive\n", flush=True)
    return score


def write(score):
    """measured.toml with this score, in the order of the servers; what it says of other servers stays."""
    file = HERE / "measured.toml"
    before = tomllib.loads(file.read_text())["server"] if file.exists() else []
    entries = {it["name"]: it for it in before} | {score.name: dataclasses.asdict(score)}
    text = "# Written by mutate.py --write: what came of the changes of each server. A survivor is a change and its line.\n"
    for name in sorted(entries):
        entry = entries[name]
        text += f"\n[[server]]\nname = '{name}'\n"
        text += "".join(f"{key} = {entry[key]}\n" for key in ("compile", "same", "caught"))
        survivors = sorted({tuple(it) for it in entry["survivors"]})
        pairs = "".join(f"    ['{what}', '''{line}'''],\n" for what, line in survivors)
        text += f"survivors = [\n{pairs}]\n" if pairs else "survivors = []\n"
    file.write_text(text)


def unexplained(scores):
    known = tomllib.loads((HERE / "survivors.toml").read_text()).get("survivor", [])
    explained = {(server, it["change"], it["line"]) for it in known for server in it["servers"]}
    entries = [(score.name, *survivor) for score in scores for survivor in score.survivors]
    return sorted({entry for entry in entries if entry not in explained})


def chosen(words):
    """The servers that these words name."""
    solutions = sorted(path.parent.name for path in (ROOT / "exercises").glob("*/solution.rs"))
    names = list(CHAPTERS) + solutions
    found = [[name for name in names if word in (name, name[:2])] for word in words]
    unknown = [word for word, names in zip(words, found) if not names]
    if unknown:
        options = [word for word in unknown if word.startswith("-")]
        what = f"no such option: {options[0]}" if options else f"no such server: {', '.join(unknown)}"
        there = "" if options else f"there are {', '.join(CHAPTERS)}, and the exercises\n"
        print(f"{what}\n{there}usage: common/harness/mutate.py [--again] [--fresh] [--write] [SERVER ...]", file=sys.stderr)
        sys.exit(2)
    wanted = sum(found, []) or list(CHAPTERS) + EXERCISES
    return [Chapter(name) if name in CHAPTERS else Solution(name) for name in wanted]


def main():
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopped)
    words = sys.argv[1:]
    if "--help" in words or "-h" in words:
        print(__doc__.strip())
        return
    options = {word for word in words if word in ("--again", "--fresh", "--write")}
    subjects = chosen([word for word in words if word not in options])
    for folder in (COPY, WORK / "programs"):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT, COPY, symlinks=True, ignore=lambda folder, names: {"target", ".git"} & set(names))
    scores = []
    for subject in subjects:
        scores.append(measure(subject, options))
        if "--write" in options:
            write(scores[-1])
    left = unexplained(scores)
    for server, what, line in left:
        print(f"[[survivor]]\nservers = ['{server}']\nchange = '{what}'\nline = '''{line}'''\nwhy = \"\"\n")
    if left:
        sys.exit(f"{len(left)} changes that no check notices: close the hole, or say in survivors.toml why it is none")


main()
