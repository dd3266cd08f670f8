"""Every allocation of tstd and every call of its disk fails once: in a start,
in two hundred requests, in what people do with files, and while it stops.

usage: test_faults.py [--only PART] [--plan NAME] [FAULT_STORE]

Beside the tstd whose calls fail runs a sound one, which is asked the same: a
request that meets a fault is answered with an error and has changed nothing,
and works when it is asked again; every other reply is that of the sound one.
So what the two hold is the same in the end, and also after a restart.

FAULT_STORE is the program that does the same to the library; it runs at the
same time. Each prints one line; on failure also what was wrong.

TOON_SMALL=1: the first call of each kind, and a sample of all others.
"""

import argparse
import errno
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import harness
import mount_work
import resp_work
from faulty import FILES, KINDS, LIBRARIES, MEMORY, PATIENCE_S, SYNCS, TRANSFERS
from faulty import Failed, Plan, Shim, Tstd, Watchdog, kinds

LINE = "faulted calls: %d, %d wrong"
WRONG_MAX = 10
TEXT_MAX = 3000
REFUSALS = (
    b"OOM ",
    b"ERR the disk failed",
    b"ERR no space left",
    b"MISCONF ",
    b"ERR Protocol error: out of memory",
    b"ERR CONFIG SET failed (possibly related to argument 'save') - out of memory",
    b"ERR CONFIG SET failed (possibly related to argument 'client-out",
)
CLOSES = b"ERR Protocol error"
FAULT_ERRNOS = (errno.ENOMEM, errno.EIO, errno.ENOSPC, errno.EROFS)
PASSES_BETWEEN_RESTARTS = 8
NEVER = 1 << 60

PLANS = {
    "memory": Plan("memory", MEMORY),
    "libraries": Plan("libraries' memory", LIBRARIES),
    "eio": Plan("files, EIO", FILES, errno.EIO),
    "enospc": Plan("files, ENOSPC", FILES, errno.ENOSPC),
    "eintr": Plan("reads and writes, EINTR", TRANSFERS, errno.EINTR, visible=False),
    "short": Plan("reads and writes, short", TRANSFERS, 0, visible=False),
    "syncs": Plan("syncs, EIO", SYNCS, errno.EIO),
}


class SoundFailed(Exception):
    """The sound tstd fails: nothing can be told of the other any more."""


class Faults:
    """The two servers, and what was found."""

    def __init__(self, hostile):
        self.hostile = hostile
        self.top = tempfile.mkdtemp(prefix="toon-faults-")
        self.shim = Shim(os.path.join(self.top, "words"))
        self.faulty = Tstd(self.top, "faulty", self.shim)
        self.sound = Tstd(self.top, "sound")
        self.watchdog = Watchdog()
        self.plan = None
        self.step = 1  # every so many calls, on average
        self.chance = random.Random(20260101)  # the same sample every time
        self.seen = 0  # kinds of calls that have failed, as bits
        self.at = 0  # the number of the call that fails
        self.next = {}  # of each piece of work, unless all its calls have failed
        self.where = ""
        self.came = self.came_back = False  # the fault; a restart because of it
        self.faulted = 0
        self.wrong = []
        self.ours = self.theirs = None  # connections: to the faulty, the sound

    def close(self):
        self.faulty.kill()
        self.sound.kill()
        shutil.rmtree(self.top, ignore_errors=True)

    def report(self, text):
        self.wrong.append(text)
        where = "%s, call %d of %s" % (self.plan.name, self.at, self.where)
        print(
            "wrong: %s (%s): %s" % (where, self.shim.describe(), text[:TEXT_MAX]),
            file=sys.stderr,
            flush=True,
        )
        if len(self.wrong) >= WRONG_MAX:
            raise Failed("too much is wrong to go on")

    # The fault.

    def arm(self, where):
        self.where = where
        self.came = self.came_back = False
        self.watchdog.guard(self.faulty, self.sound)
        self.shim.arm(self.plan, self.at, 0 if self.step == 1 else ~self.seen)

    def disarm(self):
        """True: the fault has come, since arm()."""
        self.came = self.came or self.shim.failed > 0
        self.faulted += self.shim.failed
        self.seen |= self.shim.failed_kind
        self.shim.disarm()
        self.watchdog.release()
        return self.came

    def stride(self):
        return 1 if self.step == 1 else self.chance.randint(1, 2 * self.step - 1)

    def ask_sound(self, *words):
        try:
            return self.theirs.ask(*words)
        except resp_work.Closed as failure:
            raise self.sound_failed(failure) from None

    def sound_failed(self, failure):
        try:
            status = self.sound.process.wait(5)
        except subprocess.TimeoutExpired:
            status = "nothing: it runs"
        return SoundFailed(
            "the sound tstd fails in %s (%s); it ended with %s\n%s"
            % (self.where, failure, status, self.sound.output()[-TEXT_MAX:])
        )

    def run_on_sound(self, work):
        result = work.run(self.sound.mount)
        if not self.sound.is_running():
            raise self.sound_failed(result)
        return result

    def dump_sound(self):
        try:
            return resp_work.dump(self.theirs)
        except resp_work.Closed as failure:
            raise self.sound_failed(failure) from None

    def piece(self, name, once):
        """Calls once() until it is done, each time with the next of its calls
        failing. Where a fault does no harm, the next one has to wait for
        another pass, since the work is done."""
        done = False
        while not done:
            at = self.next.get(name, 0)
            self.at = NEVER if at is None else at
            self.arm(name)
            done = once()
            if self.disarm():
                if at is not None:  # else of a kind that comes for the first time
                    self.next[name] = at + self.stride()
            elif not self.came_back:
                self.next[name] = None
                if not done:
                    raise Failed("does not work")

    # Comparing.

    def connect(self):
        if self.ours:
            self.ours.close()
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.ours = resp_work.Connection(self.faulty.port)
                return
            except OSError:
                if not self.faulty.is_running() or time.monotonic() > end:
                    raise Failed("tstd does not take connections any more") from None

    def difference(self):
        """What the two servers hold differently; no fault comes meanwhile."""
        self.shim.pause(True)
        for tries in range(3):
            time.sleep(0.01 * tries)  # a key expires, a file is released
            quiet = resp_work.Connection(self.faulty.port)
            text = resp_work.difference(resp_work.dump(quiet), self.dump_sound())
            quiet.close()
            if not text:
                break
        self.shim.pause(False)
        return text

    def compare_all(self, when):
        text = self.difference()
        if text:
            raise Failed("%s: %s" % (when, text))
        ours = mount_work.tree(self.faulty.mount)
        theirs = mount_work.tree(self.sound.mount)
        for path in sorted(set(ours) | set(theirs)):
            if ours.get(path) != theirs.get(path):
                raise Failed(
                    "%s: file %s is %.300r, not %.300r"
                    % (when, path, ours.get(path), theirs.get(path))
                )

    # Requests.

    def request_once(self, words, how):
        """True: it is done."""
        try:
            reply = self.ours.ask(*words)
        except resp_work.Closed:
            self.connect()
            return self.after_fault(words)
        refusal = resp_work.first_error(reply)
        if refusal.startswith(REFUSALS):
            if refusal.startswith(CLOSES):
                self.connect()
            done = self.after_fault(words)
            if done and not self.may_end_writing(words):
                raise Failed("was answered %r, and was done" % refusal)
            if self.is_read_only():
                self.come_back(words)
            return done
        wanted = self.ask_sound(*words)
        if not resp_work.same(reply, wanted, how):
            raise Failed("%.300r, not %.300r" % (reply, wanted))
        return True

    def check_visible(self, text):
        """An error needs a fault, in this work or, if it ended all writing, in
        what was done before."""
        if not self.plan.visible or not (self.shim.failed or self.is_read_only()):
            raise Failed(text)

    def after_fault(self, words):
        """The request met the fault. True: it was done all the same."""
        self.check_visible("fails")
        if not self.difference():
            return False
        self.ask_sound(*words)
        text = self.difference()
        if text:
            raise Failed(text)
        return True

    def pipeline(self):
        """Many at once: of what fails, nothing is done, and all else is."""
        asked = [("SET", "many:%d" % i, "x" * 100) for i in range(12)]
        try:
            replies = self.ours.ask_all(asked)
        except resp_work.Closed:
            self.connect()
            return False
        fine = True
        for words, reply in zip(asked, replies):
            if isinstance(reply, resp_work.Error):
                fine = False
            if not isinstance(reply, resp_work.Error) or self.was_written_early(words):
                self.ask_sound(*words)
        if self.is_read_only():
            self.come_back(asked[0])
        elif self.difference():
            raise Failed(self.difference())
        return fine

    def was_written_early(self, words):
        """A hostile build writes in the middle of a turn: that is done then,
        whatever becomes of the rest."""
        if not self.hostile:
            return False
        self.shim.pause(True)
        quiet = resp_work.Connection(self.faulty.port)
        there = quiet.ask("EXISTS", words[1]) == 1
        quiet.close()
        self.shim.pause(False)
        return there

    def visit(self):
        """A client that comes and goes; for want of memory it may wait, or be
        sent away."""
        try:
            visitor = resp_work.Connection(self.faulty.port)
            visitor.ask("PING")
            visitor.close()
        except (OSError, resp_work.Closed):
            return False
        return True

    def may_end_writing(self, words):
        return self.plan is PLANS["syncs"] or words in resp_work.FLUSHES

    def is_read_only(self):
        return "the store is read-only from now on" in self.faulty.output()

    def come_back(self, words):
        """A store that takes no changes any more does after a restart."""
        if not self.may_end_writing(words):
            raise Failed("the store turned read-only")
        self.came_back = True
        self.disarm()
        self.faulty.stop()
        self.faulty.start()
        self.connect()

    # Files.

    def file_work_once(self, work):
        """True: it is done."""
        result = work.run(self.faulty.mount)
        if isinstance(result, OSError) and result.errno in FAULT_ERRNOS:
            self.check_visible("fails: %s" % result)
            if self.is_read_only():
                self.come_back((work.name,))
            return not work.twice and self.was_done(work, result)
        wanted = self.run_on_sound(work)
        if not mount_work.same(result, wanted):
            raise Failed("%.300r, not %.300r" % (result, wanted))
        return True

    def was_done(self, work, result):
        """In spite of the error: closing may fail when the work is done."""
        if not self.difference():
            return False
        self.run_on_sound(work)
        text = self.difference()
        if text:
            raise Failed("%s, and %s" % (result, text))
        return True

    # Passes.

    def empty(self):
        self.ours.ask("FLUSHALL")
        self.ask_sound("FLUSHALL")

    def all_work(self):
        self.empty()
        for number, (words, how) in enumerate(resp_work.requests()):
            name = "request %d, %.60r" % (number, words)
            self.piece(name, lambda w=words, h=how: self.request_once(w, h))
        self.piece("many requests at once", self.pipeline)
        self.piece("a connection", self.visit)
        self.empty()
        for work in mount_work.ALL:
            self.piece(work.name, lambda w=work: self.file_work_once(w))

    def one_pass(self):
        """False: every call of every piece has failed."""
        before = self.faulted
        try:
            self.all_work()
            self.where = "all work"
            self.compare_all("afterwards")
        except (Failed, resp_work.Closed) as failure:
            self.went_wrong(failure)
        return self.faulted != before

    def went_wrong(self, failure):
        """Both start anew, with nothing, and leave that call out."""
        self.shim.disarm()
        self.next[self.where] = None if self.at == NEVER else self.at + self.stride()
        text = str(failure)
        if self.watchdog.barked:
            self.watchdog.barked = False
            text += "; it hangs"
        for server in (self.faulty, self.sound):
            if not server.is_running():
                text += "; it has ended\n" + server.output()[:TEXT_MAX]
        self.report(text)
        for server in (self.faulty, self.sound):
            server.kill()
            shutil.rmtree(server.data, ignore_errors=True)
        self.begin()

    def begin(self):
        self.shim.disarm()
        self.faulty.start()
        self.sound.start()
        self.connect()
        self.theirs = resp_work.Connection(self.sound.port)

    def end(self):
        self.check_restart()
        self.theirs.close()
        self.sound.stop()
        self.ours.close()
        self.ours = None
        self.faulty.stop()

    def check_restart(self):
        """What was acknowledged is there, without a fault."""
        self.where = "a restart"
        try:
            self.faulty.stop()
            self.check_files()
            self.faulty.start()
            self.connect()
            self.compare_all("after a restart")
        except Failed as failure:
            self.went_wrong(failure)

    def check_files(self):
        done = harness.run(harness.TST, "check", self.faulty.data, check=False)
        if done.returncode != 0:
            raise Failed("tst check: " + harness.tail(done.stdout + done.stderr))

    def passes(self, name, step=1):
        self.plan, self.step, self.next = PLANS[name], step, {}
        self.begin()
        count = 0
        while self.one_pass():
            count += 1
            if count % PASSES_BETWEEN_RESTARTS == 0:
                self.check_restart()
        self.end()

    def flushes(self, name, step):
        """They have far more calls than all other requests."""
        self.plan, self.step, self.next = PLANS[name], step, {}
        self.begin()
        self.empty()
        for words in resp_work.FLUSHES:
            while self.next.get(words[0], 0) is not None:
                try:
                    self.show_files()
                    self.piece(words[0], lambda w=words: self.request_once(w, resp_work.EXACT))
                    self.check_forgotten()
                except (Failed, resp_work.Closed) as failure:
                    self.went_wrong(failure)
        self.end()

    def show_files(self):
        """Some keys, of which the kernel knows by now."""
        self.ours.ask("MSET", "a", "1", "b", "2", "d/c", "3")
        self.ask_sound("MSET", "a", "1", "b", "2", "d/c", "3")
        mount_work.tree(self.faulty.mount)

    def check_forgotten(self):
        for name in ("a", "b", "d", "d/c"):
            if os.path.exists(os.path.join(self.faulty.mount, name)):
                raise Failed("the kernel was not told that %s is gone" % name)

    def syncs(self, step):
        """Under `always`, where each change has its sync."""
        self.faulty.args = ["--appendfsync", "always"]
        self.passes("syncs", step)
        self.faulty.args = []

    # Starts.

    def start_once(self, with_mount):
        """Starts and stops. False: the fault never came."""
        self.arm("a start")
        self.faulty.launch(with_mount)
        try:
            if self.faulty.await_ready():
                self.faulty.stop()
            else:
                self.faulty.wait()
                self.check_refusal(self.faulty.output())
        except Failed as failure:
            self.report(str(failure))
            self.faulty.kill()
        return self.disarm()

    def check_refusal(self, text):
        if "tstd: " not in text and " # " not in text:
            self.report("it is refused without a word: %r" % text)

    def check_start(self, wanted):
        """Nothing is left of what failed."""
        try:
            if wanted:
                self.check_files()
            self.faulty.start()
            self.connect()
            text = resp_work.difference(resp_work.dump(self.ours), wanted)
            if text:
                self.report("the start after it: " + text)
            self.faulty.stop()
        except Failed as failure:
            self.report(str(failure))
            self.faulty.kill()

    def make_killed_data(self, kept):
        """A directory with an index, and a tail behind it; what is in it."""
        self.shim.disarm()
        self.faulty.start()
        self.connect()
        for words, _ in resp_work.requests():
            self.ours.ask(*words)
        self.faulty.stop()
        self.faulty.start()
        self.connect()
        self.ours.ask("MSET", *[word for i in range(50) for word in ("t:%d" % i, "tail")])
        wanted = resp_work.dump(self.ours)
        self.faulty.kill()
        shutil.copytree(self.faulty.data, kept)
        return wanted

    def calls_without_mount(self):
        self.at = NEVER
        self.arm("a start")
        self.faulty.launch(with_mount=False)
        self.faulty.await_ready()
        count = self.shim.count
        self.faulty.stop()
        self.disarm()
        return count

    def starts(self, name, step):
        """The mount comes last: calls before it need none."""
        self.plan, self.step = PLANS[name], step
        kept = os.path.join(self.top, "kept")
        wanted = self.make_killed_data(kept)
        alone = self.calls_without_mount()
        self.at = count = 0
        while True:
            shutil.rmtree(self.faulty.data)
            shutil.copytree(kept, self.faulty.data)
            if not self.start_once(self.at >= alone) and self.at >= alone:
                break
            if count % 8 == 0:
                self.check_start(wanted)
            count += 1
            self.at += self.stride()
        shutil.rmtree(kept)
        self.check_start(wanted)

    def first_starts(self, name):
        """Where there is no store yet."""
        self.plan, self.step = PLANS[name], 1
        self.at = 0
        while True:
            shutil.rmtree(self.faulty.data, ignore_errors=True)
            if not self.start_once(with_mount=False):
                break
            self.check_start({})
            self.at += 1


def read_arguments():
    parser = argparse.ArgumentParser(prog="test_faults.py")
    parser.add_argument("--only", help="first, starts, flushes, passes, syncs or library")
    parser.add_argument("--plan", help="one of " + ", ".join(PLANS))
    parser.add_argument("--hostile", action="store_true", help="it is the hostile build")
    parser.add_argument("fault_store", nargs="?")
    return parser.parse_args()


def run_programs(faults, arguments):
    """libuv ends a process that has no memory for it: the plan `libraries` is
    for a look at what is our own."""

    def wanted(part, *names):
        return [
            name
            for name in names
            if arguments.only in (None, part) and arguments.plan in (None, name)
        ]

    small = harness.SMALL
    step = 7 if small else 1
    extra = ("libraries",) if arguments.plan == "libraries" else ()
    for name in wanted("first", "eio", "enospc"):
        faults.first_starts(name)
    for name in wanted("starts", "memory", "eio", *extra):
        faults.starts(name, 17 if small else 1)
    for name in wanted("flushes", "memory", "eio"):
        faults.flushes(name, 17 if small else 1)
    for name in wanted("passes", "memory", "eio", "enospc", "eintr", "short", *extra):
        faults.passes(name, step)
    if wanted("syncs", "syncs"):
        faults.syncs(step)
    if arguments.only is None and arguments.plan is None:
        check_kinds(faults)


def check_kinds(faults):
    """All that the shim knows is called by tstd, and so has failed; links are
    made by a repair alone, which is the library's."""
    wanted = (MEMORY | FILES | SYNCS) & ~kinds("LINK")
    for number, kind in enumerate(KINDS):
        if (wanted & ~faults.seen) >> number & 1:
            raise Failed("no %s has ever failed" % kind)


def main():
    arguments = read_arguments()
    library = None
    if arguments.fault_store and arguments.only in (None, "library"):
        library = subprocess.Popen(
            [os.path.abspath(arguments.fault_store)], preexec_fn=harness.end_with_parent
        )
    fine = arguments.only == "library" or fail_programs(arguments)
    if library and library.wait() != 0:
        fine = False
    return 0 if fine else 1


def fail_programs(arguments):
    """Prints its line; was all well?"""
    if harness.fuse_missing():
        print("no mount here: " + harness.fuse_missing(), file=sys.stderr)
        return True
    faults = Faults(arguments.hostile)
    try:
        run_programs(faults, arguments)
    except (Failed, SoundFailed) as failure:
        print("wrong: %s" % failure, file=sys.stderr)
        faults.wrong.append(str(failure))
    finally:
        faults.close()
    print(LINE % (faults.faulted, len(faults.wrong)), flush=True)
    return faults.faulted > 0 and not faults.wrong


if __name__ == "__main__":
    sys.exit(main())
